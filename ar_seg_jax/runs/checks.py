"""What is wrong in a config: told before data is prepared, a directory is made, or a network computes."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ar_seg_jax import build, sharding
from ar_seg_jax.configuration import unknown
from ar_seg_jax.data.dataset import Dataset
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation.evaluator import Subject
from ar_seg_jax.interfaces import Method, sides
from ar_seg_jax.runs import assembly

Config = Mapping[str, Any]

_RANGES = {
    'seed': (0, 2**32 - 1),  # of which JAX sees 32 bits
    **dict.fromkeys(('log_every', 'evaluate_every', 'checkpoint_every', 'keep_every', 'stop_after_skipped'), (0, math.inf)),
    'save_seconds': (1, 1e6),
    'pipeline.workers': (0, 1000),  # each is a process
    'pipeline.read_threads': (0, 1000),
    'pipeline.micro_batches': (1, math.inf),
    'evaluation.pictures': (0, math.inf),
}


def check(config: Config, method: Method, data: Dataset, *, begins: bool):
    """UserError for what would be told later: when evaluators are made, weights are read, or the first step is traced.

    The types of all that has no name are right already (`workdir.check_types`), and `data` need not be prepared. begins: whether
    this is a training from the first step, which reads the initial weights.
    """
    _check_numbers(config)
    assembly.length(config)
    assembly.steps_to_trace(config['profile'])
    _check_batches(config, method, data)
    _check_labels(method, data)
    _check_places(config, method, data)
    _check_fixed(config, method)
    _check_evaluators(config, method, data)
    weights = assembly.initial_weights(config)
    if begins:
        weights.check()
    _check_groups(config, method, data.image_shape)


def _check_numbers(config: Config):
    """What is a number in every config is one that can be."""
    for key, (least, most) in _RANGES.items():
        part, _, name = key.rpartition('.')
        value = (config[part] if part else config)[name]
        if not least <= value <= most:
            above = f' and at most {most}' if most < math.inf else ''
            raise UserError(f'--config.{key} is at least {least}{above}, found {value}')


def _check_batches(config: Config, method: Method, data: Dataset):
    """All batches divide over the devices, and model and method take such images."""
    pipeline, evaluation = config['pipeline'], config['evaluation']
    parts, scored = pipeline['micro_batches'], evaluation['crop_size']
    sides(pipeline['crop_size'], '--config.pipeline.crop_size')
    scored_size = sides(scored, '--config.evaluation.crop_size') if scored else None
    sharding.check_batch_size(pipeline['batch_size'], data.mesh.size, 'pipeline.batch_size', parts)
    sharding.check_batch_size(evaluation['batch_size'], data.mesh.size, 'evaluation.batch_size', learns=False)
    build.check_channels(config, data.image_shape[-1])
    method.check(data.image_shape, parts)
    if scored_size and method.image_size not in (None, scored_size):
        height, width = method.image_size
        raise UserError(
            f'{method.title} is made for images of {width} x {height} pixels, and --config.evaluation.crop_size is {scored}; set '
            f'it to that of method.image_size, or to 0 where all images have that size'
        )


def _check_labels(method: Method, data: Dataset):
    """There are labels of as many classes, if the method is trained with them."""
    if not method.uses_labels or len(data.classes) == method.num_clusters:
        return
    if not data.classes:
        raise UserError(f'{method.title} learns from labels, and the data has none; choose another method or labelled data')
    raise UserError(
        f'{method.title} learns {method.num_clusters} classes, but the data has {len(data.classes)}; set '
        f'--config.method.num_clusters={len(data.classes)}'
    )


def _check_places(config: Config, method: Method, data: Dataset):
    """Images are whole where it matters what part of them is seen."""
    if not method.uses_place:
        return
    block_size = getattr(data.builder.builder_config, 'block_size', 0)
    for key, size in (('data.block_size', block_size), ('evaluation.crop_size', config['evaluation']['crop_size'])):
        if size:
            raise UserError(
                f'{method.title} looks at where in an image a pixel is, and --config.{key}={size} cuts images; set it to 0, or '
                '--config.method.layout=0'
            )


def _check_fixed(config: Config, method: Method):
    """What a method relies on stays as it is."""
    if missing := [group for group in method.fixed if group not in config['frozen']]:
        raise UserError(
            f'{method.title} keeps what parameters give that are not trained, so --config.frozen has to name '
            f'{", ".join(missing)}; found {tuple(config["frozen"])}. Or set --config.method.cached=False'
        )


def _check_evaluators(config: Config, method: Method, data: Dataset):
    """All of them are known, have the options that they take, and can be made for such a method and such data."""
    for name in config['evaluators']:
        if name not in assembly.EVALUATORS:
            raise UserError(f'config.evaluators: {unknown(name, assembly.EVALUATORS)}')
    subject = Subject(method, data, config['evaluation']['split'], config['seed'], untrained=lambda: None)
    assembly.evaluators(config, subject)


def _check_groups(config: Config, method: Method, image_shape: tuple[int, int, int, int]):
    """There are parameters of all groups that are frozen, or have a rate. Shapes say so, and nothing is computed."""
    turns = config.get('phase_optimizers', {}).values()
    if not (config['frozen'] or any(options['rates'] for options in (config['optimizer'], *turns))):
        return
    optimizer = build.transformation(config, method, steps=1)
    key = jax.eval_shape(lambda: jax.random.key(0))
    params, _ = jax.eval_shape(method.init, key, jax.ShapeDtypeStruct(image_shape, jnp.uint8))
    state = jax.eval_shape(optimizer.tx.init, params)
    for phase in method.phases or (None,):
        jax.eval_shape(optimizer.during(phase).tx.update, params, state, params)
