"""Isola's pretext task on Potsdam-3, on IIC's network, data and changes of images, see configs/doersch_coco3.py.

    python -m ar_seg_jax.main --config configs/isola_potsdam3.py --config.data.root=/path/to/potsdam --workdir runs/isola_pot3

The IIC paper: 63.9 % pixel accuracy. Our score: not yet measured.
"""

from configs import common, doersch_coco3, iic_potsdam3


def get_config():
    return doersch_coco3.of_patches(iic_potsdam3.get_config(), common.isola())
