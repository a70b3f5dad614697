"""From a config to the method with its model, and the optimiser: what there is by name. `runs.assembly` makes the rest."""

from collections.abc import Mapping
from typing import Any

import optax
from flax.core import FrozenDict

from ar_seg_jax.configuration import check_types, choose
from ar_seg_jax.interfaces import Method, Model
from ar_seg_jax.methods import ac, arl, clusters
from ar_seg_jax.models.autoregressive import Autoregressive
from ar_seg_jax.training import optimizer

Config = Mapping[str, Any]

MODELS = {'autoregressive': Autoregressive}
METHODS = {'ac': ac.build, 'arl': arl.build}

# Of every optimiser, besides its own options.
_OPTIMIZER = {
    'name': str,
    'learning_rate': float,
    'warmup_steps': int,
    'schedule': Mapping,
    'clip_norm': float,
    'rates': Mapping,
}


def method(config: Config) -> Method:
    """The method with its model."""

    def make_model(heads: Mapping[str, int]) -> Model:
        return choose(MODELS, 'config.model', config['model'], heads=FrozenDict(heads))  # hashable, as all that jit closes over

    made = choose(METHODS, 'config.method', config['method'], make_model=make_model)
    if made.num_clusters:  # 0 is for methods that have none; those that have some refuse it themselves
        clusters.check(made.num_clusters)
    return made


def transformation(config: Config, method: Method, steps: int) -> optax.GradientTransformation:
    """The optimiser for a training of so many steps."""
    options = dict(config['optimizer'])
    check_types(options, _OPTIMIZER, 'config.optimizer')
    return optimizer.optimizer(**options, steps=steps, frozen=tuple(config['frozen']), restarted=method.restarted)
