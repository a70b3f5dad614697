"""Doersch's pretext task on the data of configs/textures.py, with the same network and budget.

    python -m ar_seg_jax.main --config configs/doersch_textures.py

Minutes on two CPU cores.
"""

from configs import common, textures


def get_config():
    config = textures.get_config()
    config.method = common.doersch()
    return config
