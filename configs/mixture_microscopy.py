"""A Gaussian mixture of colours relative to their means over the image, for one kind of thing under several lights.

    python -m ar_seg_jax.main --config configs/mixture_microscopy.py --config.data.root=/path/to/images --workdir runs/mine

Blocks should be as large as the smallest image (--config.data.block_size, --config.pipeline.crop_size): larger images are cut,
and each block then has a mean of its own.
"""

from configs import mixture_folder


def get_config():
    config = mixture_folder.get_config()
    config.data.update(rescale=1.0, block_size=80)
    config.pipeline.crop_size = 80
    config.model.relative = 'mean'
    return config
