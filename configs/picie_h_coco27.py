"""PiCIE+H on COCO-Stuff with 27 classes: configs/picie_coco27.py with a second clustering into 100 clusters.

    python -m ar_seg_jax.main --config configs/picie_h_coco27.py --config.data.root=/path/to/coco \
      --config.initial_weights.file=resnet18.safetensors --config.data.train_list=... --config.data.val_list=... \
      --workdir runs/picie_h_coco27

Paper: 50.0 % pixel accuracy, 14.4 mIoU. Our score: not yet measured.
"""

from configs import picie_coco27


def get_config():
    config = picie_coco27.get_config()
    config.method.auxiliary_clusters = 100
    return config
