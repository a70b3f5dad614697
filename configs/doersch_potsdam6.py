"""Doersch's pretext task on Potsdam, six classes, on IIC's network, data and changes of images, see configs/doersch_coco3.py.

    python -m ar_seg_jax.main --config configs/doersch_potsdam6.py --config.data.root=/path/to/potsdam --workdir runs/doersch_pot6

The IIC paper: 37.2 % pixel accuracy. Our score: not yet measured.
"""

from configs import common, doersch_coco3, iic_potsdam6


def get_config():
    return doersch_coco3.of_patches(iic_potsdam6.get_config(), common.doersch())
