"""From a config to the data, the evaluators and the schedule of a run: what there is by name."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jax.sharding import Mesh

from ar_seg_jax import build, files
from ar_seg_jax.configuration import check_options, check_type, choose
from ar_seg_jax.data import (
    cityscapes,
    clevrtex,
    coco_stuff,
    folder,
    instances,
    multi_object_records,
    objects,
    potsdam,
    shapestacks,
    textures,
)
from ar_seg_jax.data.builder import prepare
from ar_seg_jax.data.dataset import Dataset
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation.evaluator import Evaluator, Subject
from ar_seg_jax.evaluation.instance_segmentation import InstanceSegmentation
from ar_seg_jax.evaluation.probing import Probing
from ar_seg_jax.evaluation.protocols import Protocol
from ar_seg_jax.evaluation.segmentation import Segmentation
from ar_seg_jax.interfaces import Method
from ar_seg_jax.training.loop import Schedule
from ar_seg_jax.training.step import Watch
from ar_seg_jax.training.task import Feed, Task
from ar_seg_jax.training.weights import InitialWeights

Config = Mapping[str, Any]

DATASETS = {
    'cityscapes': cityscapes.builder,
    'clevrtex': clevrtex.builder,
    'coco_stuff': coco_stuff.builder,
    'folder': folder.builder,
    'instances': instances.builder,
    'multi_object_records': multi_object_records.builder,
    'objects': objects.builder,
    'potsdam': potsdam.builder,
    'shapestacks': shapestacks.builder,
    'textures': textures.builder,
}
EVALUATORS = {'segmentation': Segmentation, 'probes': Probing, 'instances': InstanceSegmentation}


def dataset(config: Config, mesh: Mesh, boxes: bool = False, region_size: int = 0) -> Dataset:
    """The data set of the options, which may still have to be prepared. boxes and region_size: see `Dataset`."""
    options = dict(config['data'])
    train_split, data_dir = options.pop('train_split'), str(files.expanded(options.pop('data_dir')))
    builder = choose(DATASETS, 'config.data', options, data_dir=data_dir)
    evaluation = {key: config['evaluation'][key] for key in ('batch_size', 'crop_size')}
    return Dataset(builder, train_split, dict(config['pipeline']), evaluation, mesh, config['seed'], boxes, region_size)


def prepared(data: Dataset, may_write: bool = True) -> Dataset:
    """The data set, prepared on first use; DataError if it has to be and this must not write."""
    return dataclasses.replace(data, builder=prepare(data.builder, may_write))


def task(config: Config, method: Method, data: Feed, mesh: Mesh) -> Task:
    """What is trained, and how."""
    optimizer = build.transformation(config, method, schedule(config, data).steps)
    return Task(method, optimizer, data, mesh, config['seed'], initial_weights(config), config['pipeline']['micro_batches'])


def initial_weights(config: Config) -> InitialWeights:
    """What the parameters begin with; nothing is read yet."""
    check_options(InitialWeights, 'config.initial_weights', config['initial_weights'])
    return InitialWeights(**config['initial_weights'])


def evaluators(config: Config, subject: Subject) -> dict[str, Evaluator]:
    """By name, in the order in which they are listed above."""
    chosen = config['evaluators']
    return {
        name: choose(EVALUATORS, f'config.evaluators.{name}', {'name': name, **chosen[name]}, subject=subject)
        for name in EVALUATORS
        if name in chosen
    }


def matching(config: Config) -> str:
    """How clusters get their classes under the first protocol of a run; one-to-one where it has none."""
    protocols = config['evaluators'].get('segmentation', {}).get('protocols') or ['one-to-one']
    check_type('config.evaluators.segmentation.protocols', protocols, Sequence[str])
    return Protocol.parse(protocols[0], config['evaluation']['split']).matching


def schedule(config: Config, data: Feed) -> Schedule:
    """When things happen; its length is `steps`, or `epochs` of the training split, see `epochs.Epochs`."""
    steps, epochs = length(config)
    if epochs:
        steps = max(1, data.epochs.first_step(epochs))
    traced = steps_to_trace(config['profile'])
    return Schedule(steps, config['log_every'], config['evaluate_every'], config['checkpoint_every'], traced)


def length(config: Config) -> tuple[int, float]:
    """Steps and epochs of the training, one of which is 0; UserError if not."""
    steps, epochs = config['steps'], config['epochs']
    if (steps > 0) == (epochs > 0) or min(steps, epochs) < 0:
        raise UserError(f'set one of --config.steps and --config.epochs and leave the other 0; found {steps} and {epochs}')
    return steps, epochs


def watch(config: Config) -> Watch:
    """What happens when steps are not applied."""
    return Watch(config['stop_after_skipped'], config['optimizer']['learning_rate'])


def steps_to_trace(text: str) -> tuple[int, int] | None:
    """First and last step of 'first-last' or 'step'; None for ''. UserError for what is neither."""
    if not text:
        return None
    first, _, last = text.partition('-')
    if not (first.isdecimal() and (last or first).isdecimal()) or not 0 < int(first) <= int(last or first):
        raise UserError(f"--config.profile is a step or a range of steps such as '10-12', found {text!r}")
    return int(first), int(last or first)
