"""IIC on Potsdam, six classes, as its published run had it, on the data and with the evaluation of configs/potsdam6.py.

    python -m ar_seg_jax.main --config configs/iic_potsdam6.py --config.data.root=/path/to/potsdam --workdir runs/iic_potsdam6

IIC's scores are of another protocol, see configs/iic_potsdam6_iic_protocol.py. Our score: not yet measured. 4,524,672 parameters.
"""

from configs import iic_potsdam3, potsdam6


def get_config():
    config = iic_potsdam3.on_potsdam(potsdam6.get_config())
    config.optimizer.learning_rate = 1e-6
    config.pipeline.batch_size = 60
    config.method.update(num_clusters=6, auxiliary_clusters=36, entropy_weight=1.0, displacement=5)
    return config
