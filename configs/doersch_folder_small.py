"""Doersch's pretext task on the data of configs/folder_small.py, with the same network and budget.

python -m ar_seg_jax.main --config configs/doersch_folder_small.py --config.data.root=/path/to/images --workdir runs/mine_doersch
"""

from configs import common, doersch_textures, folder_small


def get_config():
    return doersch_textures.small(folder_small.get_config(), common.doersch())
