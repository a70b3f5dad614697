"""IIC on Potsdam-3 as its published run had it, on the data and with the evaluation of configs/potsdam3.py.

    python -m ar_seg_jax.main --config configs/iic_potsdam3.py --config.data.root=/path/to/potsdam --workdir runs/iic_potsdam3

IIC's scores are of another protocol, see configs/iic_potsdam3_iic_protocol.py. Our score: not yet measured. 4,516,992 parameters.
"""

from configs import iic_coco3, potsdam3


def get_config():
    return on_potsdam(potsdam3.get_config())


def on_potsdam(config):
    """IIC as it was trained on Potsdam-3: no Sobel gradients, weaker changes of colour."""
    iic_coco3.as_published(config)
    config.optimizer.learning_rate = 1e-5
    config.pipeline.batch_size = 75
    config.method.update(auxiliary_clusters=24, brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1, sobel=False)
    return config
