"""ARL on the data of configs/folder.py, with the same network and budget.

python -m ar_seg_jax.main --config configs/arl_folder.py --config.data.root=/path/to/images --workdir runs/mine_arl
"""

from configs import common, folder


def get_config():
    config = folder.get_config()
    config.method = common.arl()
    return config
