"""Isola's pretext task on the data of configs/textures.py, with the same network and budget.

    python -m ar_seg_jax.main --config configs/isola_textures.py

Minutes on two CPU cores.
"""

from configs import common, doersch_textures, textures


def get_config():
    return doersch_textures.small(textures.get_config(), common.isola())
