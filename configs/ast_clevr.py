"""AST on CLEVR with masks, as in the supplement: a simple background, trained for 2,500 steps, and MiT-B3.

PLACEHOLDER
"""

from configs import common


def get_config():
    config = common.get_config()
    config.model = common.segformer()
    config.method = common.ast() | {'scales': 1, 'background': 'simple', 'background_steps': 2500}
    config.steps = 127_500
    config.update(common.ast_optimizers())
    config.phase_optimizers.background.schedule.last = 500
    config.pipeline.update(crop_size=128, batch_size=64)
    config.evaluators = common.instances()
    return config
