"""A Gaussian mixture of colours and places on any folder of images: label maps within a minute, without a network.

    python -m ar_seg_jax.main --config configs/mixture_folder.py --config.data.root=/path/to/images --workdir runs/mine

Photographs with an up and a down, as of streets: as it is. Images without, as from above: --config.method.layout=0
--config.model.relative=none. Microscopes and the like, of one kind of thing under several lights: --config.method.layout=0.
"""

from configs import common, folder


def get_config():
    config = folder.get_config()
    config.steps = 200
    config.data.update(block_size=0)
    config.pipeline.update(crop_size=96)
    return mixture(config)


def mixture(config):
    """The config with a mixture in place of what it trains."""
    config.model = common.colours()
    config.method = common.mixture()
    return config
