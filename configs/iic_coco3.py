"""IIC on COCO-Stuff-3 as its published run had it, on the data and with the evaluation of configs/coco3.py.

    python -m ar_seg_jax.main --config configs/iic_coco3.py --config.data.root=/path/to/coco --workdir runs/iic_coco3

IIC's scores are of another protocol, see configs/iic_coco3_iic_protocol.py. Our score: not yet measured. 4,512,960 parameters.
"""

from configs import coco3, common


def get_config():
    config = coco3.get_config()
    as_published(config)
    config.optimizer.learning_rate = 1e-4
    config.pipeline.batch_size = 120
    return config


def as_published(config):
    """IIC's model, method and training on whatever the data are."""
    config.epochs = 30.0
    config.model = common.vgg()
    config.model.geometry = 'paper'
    config.method = common.iic()
    config.optimizer.eps = 1e-8
