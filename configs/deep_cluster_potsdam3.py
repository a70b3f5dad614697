"""DeepCluster on the data of configs/potsdam3.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/deep_cluster_potsdam3.py --config.data.root=/path/to/potsdam

IIC's paper: 41.7 % pixel accuracy, by a program that is not known. Our score: not yet measured.
"""

from configs import deep_cluster_coco3, potsdam3


def get_config():
    return deep_cluster_coco3.in_place_of_ac(potsdam3.get_config())
