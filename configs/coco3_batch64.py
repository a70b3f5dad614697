"""configs/coco3.py for 8, 16 or 32 devices, over which the paper's batch of 60 cannot be split: 64 images.

    python -m ar_seg_jax.main --config configs/coco3_batch64.py --config.data.root=/path/to/coco --workdir runs/coco3

With Adam the learning rate would grow by the square root of 64 / 60, 3 %; it stays.
"""

from configs import coco3


def get_config():
    config = coco3.get_config()
    config.pipeline.batch_size = 64
    config.evaluation.batch_size = 64
    return config
