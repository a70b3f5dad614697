"""From a config to the method with its model, and the optimiser: what there is by name. `runs.assembly` makes the rest."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax.core import FrozenDict

from ar_seg_jax.configuration import check_type, check_types, choose, named
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Method, Model, Normalisation
from ar_seg_jax.methods import (
    ac,
    arl,
    ast,
    clusters,
    deep_cluster,
    doersch,
    iic,
    isola,
    mixture,
    picie,
    smooseg,
    stego,
    supervised,
)
from ar_seg_jax.models.autoregressive import Autoregressive
from ar_seg_jax.models.colours import Colours
from ar_seg_jax.models.compact_unet import CompactUNet
from ar_seg_jax.models.resnet_fpn import ResNetFPN
from ar_seg_jax.models.segformer import SegFormer
from ar_seg_jax.models.unet import UNet
from ar_seg_jax.models.vgg import VGG
from ar_seg_jax.models.vit import ViT
from ar_seg_jax.training import optimizer

Config = Mapping[str, Any]

MODELS = {
    'autoregressive': Autoregressive,
    'colours': Colours,
    'compact_unet': CompactUNet,
    'resnet_fpn': ResNetFPN,
    'segformer': SegFormer,
    'unet': UNet,
    'vgg': VGG,
    'vit': ViT,
}
METHODS = {
    'ac': ac.build,
    'arl': arl.build,
    'ast': ast.build,
    'deep_cluster': deep_cluster.build,
    'doersch': doersch.build,
    'iic': iic.build,
    'isola': isola.build,
    'mixture': mixture.build,
    'picie': picie.build,
    'smooseg': smooseg.build,
    'stego': stego.build,
    'supervised': supervised.build,
}

# Options that runs of older versions know nothing of.
_NEWER = {'vit': {'magnify': 1}}
_NEWER_OF_OPTIMIZERS = {'warmup_power': 1.0, 'shard_state': False, 'gradient_dtype': 'float32'}

# Of every optimiser, besides its own options.
_OPTIMIZER = {
    'name': str,
    'learning_rate': float,
    'warmup_steps': int,
    'warmup_power': float,
    'schedule': Mapping,
    'clip_norm': float,
    'keep_unused': bool,
    'rates': Mapping[str, float],
    'shard_state': bool,
    'gradient_dtype': str,
}


def method(config: Config, measured: Normalisation | None = None) -> Method:
    """The method with its model.

    measured: mean and deviation of the training images, for a model that `wants_measured`. Made without them, such a method can
    be described and checked, but does not see its images as it should.
    """
    made = choose(METHODS, 'config.method', config['method'], make_model=functools.partial(_model, config, measured))
    if made.num_clusters:  # 0 is for methods that have none; those that have some refuse it themselves
        clusters.check(made.num_clusters)
    return made


def wants_measured(config: Config) -> bool:
    """Whether the model normalises images by the mean and deviation of those that it is trained on."""
    return config['model'].get('normalise') == 'data'


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
    turns = config.get('phase_optimizers', {})  # of which runs of older versions know nothing
    check_type('config.phase_optimizers', turns, Mapping[str, Mapping])
    names = [phase.name for phase in method.phases]
    for name in turns:
        if name not in names:
            raise UserError(f'config.phase_optimizers: {method.title} {_has_phases(names)}, found {name!r}')
    make = functools.partial(_optimizer, config, method, steps)
    others = make(config['optimizer'], 'config.optimizer', [name for name in names if name not in turns])
    own = {name: make(options, f'config.phase_optimizers.{name}', [name]) for name, options in turns.items()}
    lasting = {method.phase(phase.begin).name for phase in method.phases}  # others have no steps, and need no state
    own = {name: found for name, found in own.items() if name in lasting}
    return optimizer.taking_turns(others, own) if own else others


def _has_phases(names: Sequence[str]) -> str:
    return f'has the phases {", ".join(names)}' if names else 'has no phases'


def _optimizer(
    config: Config, method: Method, steps: int, options: Mapping[str, Any], section: str, names: Sequence[str]
) -> optimizer.Optimizer:
    """From the options in a section of the config, for the phases of these names.

    Its schedules are as long as all of these phases together; what is frozen in each of them has no moments.
    """
    options = {**_NEWER_OF_OPTIMIZERS, **options}
    check_types(options, _OPTIMIZER, section)
    for group, rate in options['rates'].items():
        if not 0 <= rate < math.inf:
            raise UserError(f'{section}.rates.{group} is a factor of at least 0, found {rate}')
    frozen = tuple(config['frozen'])
    if names:
        ends = [*(phase.begin for phase in method.phases[1:]), steps]
        own = [(phase, end) for phase, end in zip(method.phases, ends, strict=True) if phase.name in names]
        steps = sum(max(0, min(end, steps) - phase.begin) for phase, end in own)
        frozen += tuple(sorted(set.intersection(*(set(phase.frozen) for phase, _ in own))))
    return optimizer.optimizer(**options, steps=steps, frozen=frozen, restarted=method.restarted)


def _model(config: Config, measured: Normalisation | None = None, *, heads: Mapping[str, int]) -> Model:
    options = {**_NEWER.get(config['model'].get('name'), {}), **config['model']}
    make, options = named(MODELS, 'config.model', options, ('heads', 'measured'))
    if measured and wants_measured(config):
        options['measured'] = measured
    made = make(heads=FrozenDict(heads), **options)  # hashable, as all that jit closes over
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
