"""Doersch's pretext task on the data of configs/textures.py, with the same network and budget.

    python -m ar_seg_jax.main --config configs/doersch_textures.py

Minutes on two CPU cores.
"""

from configs import common, textures


def get_config():
    return small(textures.get_config(), common.doersch())


def small(config, method):
    """The config with a method of patches as its method."""
    config.method = method | {'num_clusters': config.method.num_clusters}
    config.optimizer.eps = 1e-8  # that of the published runs: these gradients are not as small as those of AC
    return config
