"""DeepCluster on the data of configs/textures.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/deep_cluster_textures.py

Minutes on two CPU cores.
"""

from configs import common, textures


def get_config():
    return small(textures.get_config(), common.deep_cluster())


def small(config, method):
    """The config with another method that seeks clusters, on a network of the same size."""
    sizes = {'num_clusters': config.method.num_clusters, 'width': 64, 'initial_batches': 8, 'vectors_of_image': 100}
    config.model.variant = 'F4'  # nothing masked, since no orderings are followed
    config.method = method | sizes
    config.optimizer.eps = 1e-8  # that of the published runs: these gradients are not as small as those of AC
    return config
