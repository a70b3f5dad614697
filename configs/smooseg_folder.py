"""SmooSeg on the features of a frozen ViT-Ti/16, on any folder of images.

    python -m ar_seg_jax.main --config configs/smooseg_folder.py --config.data.root=/path/to/images \
      --config.initial_weights.file=vit_tiny_patch16.safetensors --workdir runs/mine

The options of the method, the batch and the number of steps are those of SmooSeg's code for Cityscapes, with DINO's ViT-S/8
(`common.vit` has its options, and those of others); the shifts (--config.method.within and between) belong to an encoder. It
trains on the five crops of each image with half of its sides, enlarged to 224 pixels; here on random crops of 224 pixels. So
images should be as large as photographs: --config.data.rescale and --config.model.magnify enlarge small ones.
docs/label_maps.md says where weights are to be had. The encoder sees each training image once, before the first step.
"""

from configs import common, mixture_vit_folder


def get_config():
    config = mixture_vit_folder.get_config()
    config.method = common.smooseg()
    return of_published(config, common.smooseg_optimizer(), steps=3000, batch_size=32)


def of_published(config, optimizer, *, steps, batch_size):
    """The config with the optimiser and the length of another training."""
    config.optimizer = optimizer
    config.steps = steps
    config.pipeline.batch_size = batch_size
    config.log_every, config.evaluate_every, config.checkpoint_every = 20, 500, 500
    return config
