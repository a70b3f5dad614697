"""IIC on the data of configs/folder_small.py, with as many images and a network of the same size.

python -m ar_seg_jax.main --config configs/iic_folder_small.py --config.data.root=/path/to/images --workdir runs/mine_iic
"""

from configs import folder_small, iic_textures


def get_config():
    return iic_textures.small(folder_small.get_config())
