"""DeepCluster on the data of configs/potsdam6.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/deep_cluster_potsdam6.py --config.data.root=/path/to/potsdam

IIC's paper: 29.2 % pixel accuracy, by a program that is not known. Our score: not yet measured.
"""

from configs import deep_cluster_coco3, potsdam6


def get_config():
    return deep_cluster_coco3.in_place_of_ac(potsdam6.get_config())
