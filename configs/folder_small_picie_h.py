"""PiCIE+H, with a second clustering into more clusters, on the data of configs/folder_small.py.

    python -m ar_seg_jax.main --config configs/folder_small_picie_h.py --config.data.root=/path/to/images --workdir runs/mine

Minutes on two CPU cores.
"""

from configs import folder_small_picie


def get_config():
    config = folder_small_picie.get_config()
    config.method.auxiliary_clusters = 100
    return config
