"""DeepCluster on the data of configs/potsdam6.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/deep_cluster_potsdam6.py --config.data.root=/path/to/potsdam

IIC's paper: 29.2 % pixel accuracy, by a program that is not known. Our score: not yet measured.
"""

from configs import common, potsdam6


def get_config():
    config = potsdam6.get_config()
    config.model.update(variant='F4', attention=False)  # nothing masked, since no orderings are followed
    config.method = common.deep_cluster() | {'num_clusters': 6, 'width': 128}
    config.optimizer.update(learning_rate=1e-4, eps=1e-8)  # those of MDC
    return config
