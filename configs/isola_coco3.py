"""Isola's pretext task on COCO-Stuff-3, on IIC's network, data and changes of images, see configs/doersch_coco3.py.

    python -m ar_seg_jax.main --config configs/isola_coco3.py --config.data.root=/path/to/coco --workdir runs/isola_coco3

The IIC paper: 54.0 % pixel accuracy. Our score: not yet measured. 262,981,825 parameters.
"""

from configs import common, doersch_coco3, iic_coco3


def get_config():
    return doersch_coco3.of_patches(iic_coco3.get_config(), common.isola())
