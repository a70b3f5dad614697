"""AST within 25 minutes on two CPU cores: a small network, few and large glimpses, and one background for all images.

    python -m ar_seg_jax.main --config configs/ast_objects_small.py

The background is trained for 150 steps, the foreground for 6000, with a frozen background in the first quarter of them (CT). BT
instead trains all of it from the beginning: --config.method.scenario=BT --config.steps=6000.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.data = {
        'name': 'objects',
        'data_dir': config.data.data_dir,
        'train_split': 'train',
        'size': 64,
        'level': 'plain',
    }
    return small(config, steps=6000)


def small(config, steps):
    """The config with a small AST for images of 64 pixels with up to six objects, whose foreground is trained for `steps`.

    Larger glimpses and a higher learning rate than in the supplement, which has 125,000 steps for objects to appear in. A lower
    entropy weight than its 0.01, by which fewer shadows count as parts of objects (docs/objects.md).
    """
    config.model = common.compact_unet()
    config.method = common.ast() | {
        'num_clusters': 7,
        'image_size': 64,
        'background': 'image',
        'width': 16,
        'largest_scale': 12.0,
        'glimpse_size': 32,
        'transformer_depth': 2,
        'transformer_width': 128,
        'transformer_feedforward': 256,
        'dropout': 0.0,
        'entropy_steps': 8 * steps // 100,
        'background_steps': 150,
        'entropy_weight': 0.003,
        'frozen_steps': steps // 4,
        'smallest_object': 0.005,  # as small as an object of the data is at least; the baselines' parts are no smaller either
    }
    config.steps = config.method.background_steps + steps
    config.update(common.ast_optimizers())
    config.optimizer.update(learning_rate=4e-4, warmup_steps=8 * steps // 100)
    config.optimizer.schedule.last = steps // 10
    config.phase_optimizers.background.learning_rate = 1e-2
    config.phase_optimizers.background.schedule.last = 30
    config.pipeline.update(crop_size=64, batch_size=16)
    config.evaluation.update(split='val', batch_size=50)
    config.evaluators = common.instances()
    config.evaluate_every = 1000
    config.checkpoint_every = 1000
    return config
