"""ARL on the data of configs/folder_small.py, with the same network and budget.

python -m ar_seg_jax.main --config configs/arl_folder_small.py --config.data.root=/path/to/images --workdir runs/mine_arl
"""

from configs import common, folder_small


def get_config():
    config = folder_small.get_config()
    config.method = common.arl()
    return config
