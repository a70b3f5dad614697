"""AC on a folder of images within a minute or two on two CPU cores: the budget of docs/ablations.md.

    python -m ar_seg_jax.sweep --config configs/folder_small.py --config.data.root=/path/to/images --table sampling \
      --seeds 3 --workdir runs/ablations

The paper's objective (plain mutual information), half its image scale, two residual blocks.
"""

from configs import folder


def get_config():
    config = folder.get_config()
    config.steps = 100
    config.data.update(rescale=0.5, block_size=100, edges='drop')
    config.pipeline.update(crop_size=96, batch_size=10)
    config.evaluation.update(split='val', batch_size=25)
    config.evaluate_every = 50
    return config
