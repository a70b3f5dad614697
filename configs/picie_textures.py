"""PiCIE on the data of configs/textures.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/picie_textures.py

Minutes on two CPU cores.
"""

from configs import common, deep_cluster_textures, textures


def get_config():
    return deep_cluster_textures.small(textures.get_config(), common.picie())
