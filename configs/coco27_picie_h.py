"""PiCIE+H on COCO-Stuff with 27 classes: configs/coco27_picie.py with a second clustering into 100 clusters.

    python -m ar_seg_jax.main --config configs/coco27_picie_h.py --config.data.root=/path/to/coco --workdir runs/coco27_picie_h

Paper: 50.0 % pixel accuracy, 14.4 mIoU. Our score: not yet measured.
"""

from configs import coco27_picie


def get_config():
    config = coco27_picie.get_config()
    config.method.auxiliary_clusters = 100
    return config
