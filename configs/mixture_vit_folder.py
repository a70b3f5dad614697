"""A Gaussian mixture of colours and of a frozen ViT-Ti/16's features, on any folder of images.

    python -m ar_seg_jax.main --config configs/mixture_vit_folder.py --config.data.root=/path/to/images \
      --config.initial_weights.file=vit_tiny_patch16.safetensors --workdir runs/mine

The encoder has seen labels of ImageNet. It is worth most where it knows things: streets, indoors; least from above.
It should see things at the size of photographs: --config.model.magnify=2 or 4 enlarges small images. docs/label_maps.md says
where weights are to be had; `common.vit` has the options of others.
"""

from configs import common, mixture_folder


def get_config():
    config = mixture_folder.get_config()
    config.steps = 40
    config.model = common.vit() | {'width': 192, 'attention_heads': 3, 'normalise': 'half', 'resampling': 'antialias'}
    config.method.components = 16
    config.frozen = ('network',)
    config.initial_weights.update(layout='vit', into='network/encoder')
    config.data.update(rescale=1.0, block_size=224)
    config.pipeline.crop_size = 224
    config.evaluate_every = 0
    return config
