"""configs/potsdam3.py for 4, 8, 16 or 32 devices, over which the paper's batch of 30 cannot be split: 32 images.

    python -m ar_seg_jax.main --config configs/potsdam3_batch32.py --config.data.root=/path/to/potsdam --workdir runs/potsdam3

With Adam the learning rate would grow by the square root of 32 / 30, 3 %; it stays.
"""

from configs import potsdam3


def get_config():
    config = potsdam3.get_config()
    config.pipeline.batch_size = 32
    config.evaluation.batch_size = 32
    return config
