"""DeepCluster on the data of configs/coco15.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/deep_cluster_coco15.py --config.data.root=/path/to/coco

IIC's paper: 19.9 % pixel accuracy, by a program that is not known. Our score: not yet measured.
"""

from configs import coco15, deep_cluster_coco3


def get_config():
    return deep_cluster_coco3.in_place_of_ac(coco15.get_config())
