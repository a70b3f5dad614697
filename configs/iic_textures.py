"""IIC on the data of configs/textures.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/iic_textures.py

Minutes on two CPU cores.
"""

from configs import common, textures


def get_config():
    return small(textures.get_config())


def small(config):
    """The config with IIC as its method.

    Both heads are trained in each step: a few passes over the data are too few to take turns. IIC's own network is
    `common.vgg()`, which computes at the resolution of the image and takes several times as long.
    """
    config.model.variant = 'F4'  # nothing masked, since no orderings are followed
    config.method = common.iic() | {
        'num_clusters': config.method.num_clusters,
        'auxiliary_clusters': 5 * config.method.num_clusters,
        'displacement': config.method.displacement,
        'alternate': False,
        'entropy_weight': 1.0,
    }
    return config
