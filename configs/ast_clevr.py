"""AST on CLEVR with masks, as in its supplement: a simple background model, and MiT-B3 with the weights of ImageNet.

    python -m ar_seg_jax.main --config configs/ast_clevr.py --config.data.root=/path/to/multi_object_datasets \
      --config.initial_weights.file=/path/to/mit_b3.safetensors

The supplement's background model sees batches of 128; here all phases have batches of 64. The encoder begins with published
weights (layout mit, of nvidia/mit-b3); without a file all weights are drawn.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.data = {
        'name': 'multi_object_records',
        'data_dir': config.data.data_dir,
        'train_split': 'train',
        'root': '',
        'variant': 'clevr_with_masks',
        'protocol': 'ast',
    }
    return supplement(config, background_steps=2500, scales=1, background='simple')


def supplement(config, background_steps, **method):
    """The config with the networks and the budget of the supplement, on its data. background_steps: of the background alone."""
    config.model = common.segformer()
    config.method = common.ast() | method | {'background_steps': background_steps}
    config.initial_weights.update(layout='mit', into='network/encoder')
    config.steps = background_steps + 125_000
    config.update(common.ast_optimizers())
    config.phase_optimizers.background.schedule.last = background_steps // 5
    config.pipeline.update(crop_size=config.method.image_size, batch_size=64)
    config.evaluation.batch_size = 64
    config.evaluators = common.instances()
    config.evaluate_every = 5000
    config.checkpoint_every = 5000
    return config
