"""DeepCluster on the data of configs/folder_small.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/deep_cluster_folder_small.py --config.data.root=/path/to/images --workdir runs/mine

Minutes on two CPU cores.
"""

from configs import common, deep_cluster_textures, folder_small


def get_config():
    return deep_cluster_textures.small(folder_small.get_config(), common.deep_cluster())
