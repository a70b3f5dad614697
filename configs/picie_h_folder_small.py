"""PiCIE+H, with a second clustering into more clusters, on the data of configs/folder_small.py.

    python -m ar_seg_jax.main --config configs/picie_h_folder_small.py --config.data.root=/path/to/images --workdir runs/mine

Minutes on two CPU cores.
"""

from configs import picie_folder_small


def get_config():
    config = picie_folder_small.get_config()
    config.method.auxiliary_clusters = 100
    return config
