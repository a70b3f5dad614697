"""IIC on COCO-Stuff, 15 classes, as its published run had it, on the data and with the evaluation of configs/coco15.py.

    python -m ar_seg_jax.main --config configs/iic_coco15.py --config.data.root=/path/to/coco --workdir runs/iic_coco15

IIC's scores are of another protocol, see configs/iic_coco15_iic_protocol.py. Our score: not yet measured. 4,534,464 parameters.
IIC's log begins at about -0.005 nats of the over-clustering head; three seeds of ours begin at -0.003, -0.001 and -0.002 on 22
images of COCO-Stuff.
"""

from configs import coco15, iic_coco3


def get_config():
    config = coco15.get_config()
    iic_coco3.as_published(config)
    config.optimizer.learning_rate = 1e-4
    config.pipeline.batch_size = 60
    config.method.update(num_clusters=15, auxiliary_clusters=45, entropy_weight=1.0)
    return config
