"""IIC on any folder of images, see configs/folder.py.

python -m ar_seg_jax.main --config configs/iic_folder.py --config.data.root=/path/to/images --workdir runs/mine_iic
"""

from configs import folder, iic_textures


def get_config():
    return iic_textures.small(folder.get_config())
