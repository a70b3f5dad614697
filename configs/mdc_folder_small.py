"""MDC, the baseline of PiCIE, on the data of configs/folder_small.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/mdc_folder_small.py --config.data.root=/path/to/images --workdir runs/mine

It is DeepCluster whose large clusters weigh more. Minutes on two CPU cores.
"""

from configs import deep_cluster_folder_small


def get_config():
    config = deep_cluster_folder_small.get_config()
    config.method.balance = 'frequency'
    return config
