"""IIC on the data of configs/textures.py, with a network a quarter as wide and the same budget.

    python -m ar_seg_jax.main --config configs/iic_textures.py

Minutes on two CPU cores.
"""

from configs import common, textures


def get_config():
    return small(textures.get_config())


def small(config):
    """The config with IIC in place of its method and model. Learning rates are higher than IIC's, as trainings are shorter."""
    config.model = common.vgg()
    config.model.channels = 16
    displacement, num_clusters = config.method.displacement, config.method.num_clusters
    config.method = common.iic()
    config.method.update(num_clusters=num_clusters, auxiliary_clusters=5 * num_clusters, displacement=displacement)
    config.optimizer.learning_rate = 1e-3
    return config
