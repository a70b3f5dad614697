"""Doersch's pretext task on COCO-Stuff, 15 classes, on IIC's network, data and changes of images, see configs/doersch_coco3.py.

    python -m ar_seg_jax.main --config configs/doersch_coco15.py --config.data.root=/path/to/coco --workdir runs/doersch_coco15

The IIC paper: 23.1 % pixel accuracy. Our score: not yet measured.
"""

from configs import common, doersch_coco3, iic_coco15


def get_config():
    return doersch_coco3.of_patches(iic_coco15.get_config(), common.doersch())
