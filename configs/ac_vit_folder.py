"""AC on the features of a frozen ViT-Ti/16, on any folder of images: one layer of clusters, whose two views are augmentations.

    python -m ar_seg_jax.main --config configs/ac_vit_folder.py --config.data.root=/path/to/images \
      --config.initial_weights.file=vit_tiny_patch16.safetensors --workdir runs/mine

An encoder that has learned elsewhere follows no ordering, so the second view is turned, mirrored and of other colours instead, as
in IIC. Half-window of the joint: two cells. Images as in configs/mixture_vit_folder.py; docs/label_maps.md says where weights are
to be had. Nearly all of the time goes into the encoder, which sees each crop twice: seconds a step on a CPU.
"""

from configs import common, mixture_vit_folder


def get_config():
    config = mixture_vit_folder.get_config()
    config.method = common.ac() | {'displacement': 32, 'orderings': 'none', 'transformations': 'all'}
    return with_frozen_encoder(config, below='')


def with_frozen_encoder(config, *, below):
    """The config with the encoder frozen and its weights put where the method has its model, and a training of a few minutes."""
    config.initial_weights.into = f'{below}encoder'
    config.frozen = (f'{below}encoder',)
    config.optimizer.learning_rate = 1e-3
    config.steps = 200
    config.pipeline.batch_size = 8
    return config
