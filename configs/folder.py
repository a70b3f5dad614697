"""AC on any folder of images.

    python -m ar_seg_jax.main --config configs/folder.py --config.data.root=/path/to/images --workdir runs/mine

The layout of the folder is described in ar_seg_jax/data/folder.py; labels are optional and serve evaluation only. A model
of 2 blocks with an output stride of 4 trains on two CPU cores; on a GPU use more blocks and larger batches.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.steps = 200
    config.optimizer.learning_rate = 1e-4
    config.data.update(name='folder', root='', variant='', labels=True, channels=3, rescale=1.0, block_size=200, edges='overlap')
    config.data.skip = 0.0  # share of files that may be left out, since they cannot be used
    config.data.percentiles = (1.0, 99.0)  # of images with more than 8 bits: what becomes 0 and 255
    config.pipeline.update(crop_size=200, batch_size=10)
    config.model.blocks = 2
    config.method.update(num_clusters=3, displacement=1)
    config.evaluation.update(split='train', batch_size=10)
    config.log_every = 20
    config.evaluate_every = 100
    config.checkpoint_every = 100
    return config
