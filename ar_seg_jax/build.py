"""From a config to the method with its model, and the optimiser: what there is by name. `runs.assembly` makes the rest."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
from flax.core import FrozenDict

from ar_seg_jax.configuration import check_types, choose
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Method, Model
from ar_seg_jax.methods import ac, arl, clusters, deep_cluster, doersch, iic, isola, picie, supervised
from ar_seg_jax.models.autoregressive import Autoregressive
from ar_seg_jax.models.resnet_fpn import ResNetFPN
from ar_seg_jax.models.vgg import VGG
from ar_seg_jax.models.vit import ViT
from ar_seg_jax.training import optimizer

Config = Mapping[str, Any]

MODELS = {'autoregressive': Autoregressive, 'resnet_fpn': ResNetFPN, 'vgg': VGG, 'vit': ViT}
METHODS = {
    'ac': ac.build,
    'arl': arl.build,
    'deep_cluster': deep_cluster.build,
    'doersch': doersch.build,
    'iic': iic.build,
    'isola': isola.build,
    'picie': picie.build,
    'supervised': supervised.build,
}

# Of every optimiser, besides its own options.
_OPTIMIZER = {
    'name': str,
    'learning_rate': float,
    'warmup_steps': int,
    'schedule': Mapping,
    'clip_norm': float,
    'keep_unused': bool,
    'rates': Mapping[str, float],
}


def method(config: Config) -> Method:
    """The method with its model."""
    made = choose(METHODS, 'config.method', config['method'], make_model=functools.partial(_model, config))
    if made.num_clusters:  # 0 is for methods that have none; those that have some refuse it themselves
        clusters.check(made.num_clusters)
    return made


def check_channels(config: Config, channels: int):
    """UserError unless images of so many channels are what the model was made for."""
    wanted = len(_model(config, heads={}).normalisation.mean)
    if wanted not in (0, channels):
        raise UserError(
            f'config.model {config["model"]["name"]!r} normalises images of {wanted} channels, but those of config.data '
            f'{config["data"]["name"]!r} have {channels}; choose a model or data that fits the other'
        )


def transformation(config: Config, method: Method, steps: int) -> optimizer.Optimizer:
    """The optimiser for a training of so many steps."""
    options = dict(config['optimizer'])
    check_types(options, _OPTIMIZER, 'config.optimizer')
    for group, rate in options['rates'].items():
        if not 0 <= rate < math.inf:
            raise UserError(f'config.optimizer.rates.{group} is a factor of at least 0, found {rate}')
    return optimizer.optimizer(**options, steps=steps, frozen=tuple(config['frozen']), restarted=method.restarted)


def _model(config: Config, heads: Mapping[str, int]) -> Model:
    made = choose(MODELS, 'config.model', config['model'], heads=FrozenDict(heads))  # hashable, as all that jit closes over
    if made.dtype == 'float64' and not jax.config.jax_enable_x64:
        raise UserError(
            "config.model.dtype 'float64' needs the environment variable JAX_ENABLE_X64=1; without it JAX computes in float32. "
            'Choose float32 or bfloat16'
        )
    mean, deviation = made.normalisation
    if len(mean) != len(deviation):
        raise UserError(
            f'the normalisation of config.model {config["model"]["name"]!r} has {len(mean)} means and {len(deviation)} '
            'deviations; it needs one of each for every channel of the images, or none of both'
        )
    return made
