"""AST on CLEVR with masks, as in its supplement: a simple background model, and MiT-B3 with the weights of ImageNet.

    python -m ar_seg_jax.main --config configs/ast_clevr.py --config.data.root=/path/to/multi_object_datasets \
      --config.initial_weights.file=/path/to/mit_b3.safetensors

The supplement's background model sees batches of 128 and the foreground batches of 64. Here all phases have batches of 64, since
steps, passes and where a killed run goes on are counted in batches of one size; so the background has twice as many steps, at the
same learning rate, and sees as many images: 320,000. The encoder begins with published weights (layout mit, of nvidia/mit-b3);
--config.initial_weights.layout=own, without a file, draws all weights.
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


def supplement(config, background_steps, background_batch=128, steps=125_000, batch=64, **method):
    """The config with the networks and the budget of the supplement, on its data.

    background_steps: of the background alone, in batches of `background_batch` images; here there are as many of `batch` as show
    it the same number of images. steps: of the foreground.
    """
    background_steps = -(-background_steps * background_batch // batch)
    config.model = common.segformer()
    config.method = common.ast() | method | {'background_steps': background_steps}
    config.initial_weights.update(layout='mit', into='network/encoder')
    config.steps = background_steps + steps
    config.update(common.ast_optimizers())
    config.phase_optimizers.background.schedule.last = background_steps // 5
    config.pipeline = config.pipeline.to_dict() | {'crop_size': config.method.image_size, 'batch_size': batch}
    config.evaluation.batch_size = batch
    config.evaluators = common.instances()
    config.evaluate_every = 5000
    config.checkpoint_every = 5000
    return config
