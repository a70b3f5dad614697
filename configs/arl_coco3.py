"""ARL on the data of configs/coco3.py, with the same network and budget.

    python -m ar_seg_jax.main --config configs/arl_coco3.py --config.data.root=/path/to/coco --workdir runs/arl_coco3

The papers give no ARL number for COCO-Stuff. Our score: not yet measured. Pixels outside the three classes are left out of the
loss, as in coco3.
"""

from configs import coco3, common


def get_config():
    config = coco3.get_config()
    config.method = common.arl()
    return config
