"""Isola's pretext task on Potsdam, six classes, on IIC's network, data and changes of images, see configs/doersch_coco3.py.

    python -m ar_seg_jax.main --config configs/isola_potsdam6.py --config.data.root=/path/to/potsdam --workdir runs/isola_pot6

The IIC paper: 44.9 % pixel accuracy. Our score: not yet measured.
"""

from configs import common, doersch_coco3, iic_potsdam6


def get_config():
    return doersch_coco3.of_patches(iic_potsdam6.get_config(), common.isola())
