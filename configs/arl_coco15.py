"""ARL on the data of configs/coco15.py, with the same network and budget.

    python -m ar_seg_jax.main --config configs/arl_coco15.py --config.data.root=/path/to/coco --workdir runs/arl_coco15

The papers give no ARL number for COCO-Stuff. Our score: not yet measured. Pixels outside the fifteen classes are left out of the
loss, as in coco15.
"""

from configs import coco15, common


def get_config():
    config = coco15.get_config()
    config.method = common.arl() | {'num_clusters': 15}
    return config
