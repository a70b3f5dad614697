"""DeepCluster on the data of configs/coco3.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/deep_cluster_coco3.py --config.data.root=/path/to/coco

IIC's paper: 41.6 % pixel accuracy, by a program that is not known. Our score: not yet measured.
"""

from configs import coco3, common


def get_config():
    return in_place_of_ac(coco3.get_config())


def in_place_of_ac(config):
    """The config with DeepCluster as its method."""
    config.model.update(variant='F4', attention=False)  # nothing masked, since no orderings are followed
    config.method = common.deep_cluster() | {'num_clusters': config.method.num_clusters, 'width': 128}
    config.optimizer.update(learning_rate=1e-4, eps=1e-8)  # those of MDC
    return config
