"""AC on collages of texture photographs: the run for a fresh machine, nothing to download.

    python -m ar_seg_jax.main --config configs/textures.py

Seed 0: accuracy 0.814, mIoU 0.698 (one-to-one on val) after 5 minutes on two CPU cores; k-means on SIFT 0.486, on
pixels 0.385, untrained network 0.362.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.steps = 300
    config.optimizer.learning_rate = 1e-4
    config.data.update(name='textures', size=128, scale=0.5, train_count=400, val_count=60, seed=0)
    config.pipeline.update(crop_size=96, batch_size=16)
    config.model.blocks = 2
    config.method.update(num_clusters=3, displacement=3)
    config.evaluation.batch_size = 20
    config.log_every = 20
    config.evaluate_every = 100
    config.checkpoint_every = 100
    return config
