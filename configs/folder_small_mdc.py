"""MDC, the baseline of PiCIE, on the data of configs/folder_small.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/folder_small_mdc.py --config.data.root=/path/to/images --workdir runs/mine

It is DeepCluster whose large clusters weigh more. Minutes on two CPU cores.
"""

from configs import folder_small_deep_cluster


def get_config():
    config = folder_small_deep_cluster.get_config()
    config.method.class_weights = 'frequency'
    return config
