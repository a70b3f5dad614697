"""PiCIE on the data of configs/textures.py, with the budget of images and the size of the network of AC.

    python -m ar_seg_jax.main --config configs/textures_picie.py

Minutes on two CPU cores.
"""

from configs import common, textures


def get_config():
    config = textures.get_config()
    config.method = common.picie() | {'width': 64, 'initial_batches': 8, 'vectors_of_image': 100}
    config.model.variant = 'F4'  # nothing masked: no orderings are followed
    return config
