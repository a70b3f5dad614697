"""Learning from labels, on the data of configs/textures.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/supervised_textures.py

Minutes on two CPU cores.
"""

from configs import common, textures


def get_config():
    return small(textures.get_config())


def small(config):
    """The config with labels to learn from. It begins with what PiCIE learned if it is told to, see supervised_folder_small."""
    config.model.variant = 'F4'  # nothing masked, since no orderings are followed
    config.method = common.supervised() | {'num_clusters': config.method.num_clusters}
    return config
