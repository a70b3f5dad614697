"""configs/coco15.py under IIC's protocol, see configs/coco3_iic_protocol.py.

python -m ar_seg_jax.main --config configs/coco15_iic_protocol.py --config.data.root=/path/to/coco --workdir runs/coco15_iic
"""

from configs import coco3_iic_protocol, coco15


def get_config():
    return coco3_iic_protocol.of_all_images(coco15.get_config())
