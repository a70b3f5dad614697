"""A run: training from a config, and the report on a checkpoint."""

import dataclasses
import itertools
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from ar_seg_jax import build, workdir
from ar_seg_jax.classes import numbered
from ar_seg_jax.data import pipeline
from ar_seg_jax.evaluation import baselines, pictures, segmentation
from ar_seg_jax.evaluation.segmentation import Result
from ar_seg_jax.interfaces import Method
from ar_seg_jax.training import loop, sharding
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.state import TrainState

_logger = logging.getLogger(__name__)

_BASELINE_BATCHES = 20  # training batches from which k-means draws pixels


@dataclasses.dataclass(frozen=True)
class Run:
    """The objects of a run. `segment` and `count` are compiled once and serve every evaluation."""

    directory: Path
    config: Mapping[str, Any]
    mesh: Mesh
    method: Method
    tx: optax.GradientTransformation
    data: build.Data
    checkpoints: Checkpoints
    segment: segmentation.Segment
    count: segmentation.Count


def open_run(config: Mapping[str, Any], directory: Path) -> Run:
    """Builds what a config describes; errors in it show here, before anything is written to `directory`."""
    mesh = sharding.make_mesh()
    method, tx = build.method(config), build.optimizer(config)
    data = build.data(config, mesh)
    workdir.keep_config(directory, config)
    prepared = data.builder.builder_config
    workdir.keep_data(directory, prepared.channels, prepared.rescale, prepared.classes)

    def segment(state: TrainState, image):
        return jnp.argmax(method.predict(state.params, state.extra, image)['scores'], axis=-1)

    count = segmentation.make_counter(segment, method.model.num_clusters, len(data.classes))
    checkpoints = Checkpoints(workdir.checkpoints(directory), config['keep_checkpoints'])
    return Run(directory, config, mesh, method, tx, data, checkpoints, jax.jit(segment), count)


def train(run: Run) -> TrainState:
    """Trains, or goes on training, to the last step."""
    schedule = build.schedule(run.config, run.data)
    _announce(run, schedule)

    def evaluate(state: TrainState) -> dict[str, float]:
        if not run.data.protocols:
            return {}
        (result,) = segmentation.evaluate(run.count, state, run.data.protocols[:1], run.data.evaluation)
        _logger.info('step %d  accuracy %.4f  mIoU %.4f  (%s)', state.step, *_headline(result), result.protocol)
        accuracy, mean_iou = _headline(result)
        return {f'{result.protocol.short}/accuracy': accuracy, f'{result.protocol.short}/mean_iou': mean_iou}

    state = loop.run(
        run.method,
        run.tx,
        run.data.training(),
        run.mesh,
        run.checkpoints,
        schedule=schedule,
        seed=run.config['seed'],
        image_shape=run.data.image_shape,
        evaluate=evaluate,
        workdir=run.directory,
    )
    run.checkpoints.close()
    return state


def initial_state(run: Run) -> TrainState:
    """The state before training: the untrained network of this run's seed."""
    return loop.initial_state(run.method, run.tx, run.config['seed'], run.data.image_shape, run.mesh)


def report(run: Run, state: TrainState):
    """Scores a state under every protocol, beside the baselines if the config asks for them; prints, and writes files."""
    step = int(state.step)
    rows: dict[str, list[Result]] = {}
    if run.data.protocols:
        name = f'{run.config["method"]["name"].upper()}, step {step}'
        rows[name] = segmentation.evaluate(run.count, state, run.data.protocols, run.data.evaluation)
        if run.config['evaluation']['baselines']:
            rows |= _baselines(run)
    if jax.process_index() == 0:
        _print_table(run, rows)
        _save(run, step, rows)
        if run.config['evaluation']['pictures']:
            _draw(run, state, next(iter(rows.values()))[0] if rows else None)


def _baselines(run: Run) -> dict[str, list[Result]]:
    data, clusters = run.data, run.method.model.num_clusters
    batches = itertools.islice(data.training(), _BASELINE_BATCHES)
    centroids = baselines.pixel_centroids(batches, clusters, run.config['seed'])
    count = segmentation.make_counter(baselines.nearest_centroid, clusters, len(data.classes))
    return {
        'untrained network': segmentation.evaluate(run.count, initial_state(run), data.protocols, data.evaluation),
        'k-means on pixels': segmentation.evaluate(count, centroids, data.protocols, data.evaluation),
    }


def _headline(result: Result) -> tuple[float, float]:
    return result.scores.accuracy, result.scores.mean_iou


def _announce(run: Run, schedule: loop.Schedule):
    shapes = jax.eval_shape(lambda: initial_state(run))
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes.params))
    sizes = ', '.join(f'{split} {info.num_examples}' for split, info in run.data.builder.info.splits.items())
    clusters = run.method.model.num_clusters
    _logger.info('Devices: %d x %s, batch %d', run.mesh.size, jax.devices()[0].device_kind, run.data.image_shape[0])
    _logger.info('Data: %s (%s)', run.data.builder.builder_config.name, sizes)
    _logger.info('Model: %s parameters, %d clusters', f'{parameters:,}', clusters)
    _logger.info('Training on %r for %d steps; everything goes to %s', run.data.train_split, schedule.steps, run.directory)
    _logger.info(
        'The loss is minus the mutual information of two views, so it is negative: 0 at the start, -log %d = -%.3f nats at best',
        clusters,
        math.log(clusters),
    )


def _print_table(run: Run, rows: Mapping[str, list[Result]]):
    if not rows:
        reason = 'config.evaluation.protocols is empty' if run.data.classes else 'The data has no labels'
        print(f'{reason}: nothing was scored, and clusters have numbers instead of names.')
        return
    for index, protocol in enumerate(run.data.protocols):
        print(f'\n{protocol}')
        print(f'{"":24}{"accuracy":>10}{"mIoU":>10}')
        for name, results in rows.items():
            accuracy, mean_iou = _headline(results[index])
            print(f'{name:24}{accuracy:10.4f}{mean_iou:10.4f}')
        scores = next(iter(rows.values()))[index].scores
        print(
            '  class (accuracy, IoU): '
            + '; '.join(
                f'{entry.name} {accuracy:.3f}, {iou:.3f}'
                for entry, accuracy, iou in zip(run.data.classes, scores.class_accuracy, scores.class_iou, strict=True)
            )
        )


def _save(run: Run, step: int, rows: Mapping[str, list[Result]]):
    """All numbers, and the class of each cluster under the first protocol."""
    if not rows:
        return
    classes = [entry._asdict() for entry in run.data.classes]
    own = next(iter(rows.values()))
    content = {
        'step': step,
        'results': [
            {
                'method': name,
                'protocol': {**dataclasses.asdict(result.protocol), 'in_words': str(result.protocol)},
                **dataclasses.asdict(result.scores),
                'confusion': result.confusion.tolist(),
            }
            for name, results in rows.items()
            for result in results
        ],
        'clusters': {'protocol': str(own[0].protocol), 'mapping': own[0].mapping.tolist(), 'classes': classes},
    }
    path = workdir.evaluation(run.directory, step)
    workdir.write_json(path, content)
    print(f'\nScores and the class of each cluster: {path}')


def _draw(run: Run, state: TrainState, result: Result | None):
    """Some images of the scored split with their labels and predictions."""
    examples = run.data.examples(run.data.picture_split)
    count = min(run.config['evaluation']['pictures'], len(examples))
    chosen = [pipeline.decode(examples[int(index)]) for index in np.linspace(0, len(examples) - 1, count)]
    size = min(min(example['label'].shape) for example in chosen)
    classes = run.data.classes if result else numbered('cluster', run.method.model.num_clusters)
    rows = []
    for example in chosen:
        image, label = example['image'][:size, :size], example['label'][:size, :size]
        clusters = np.asarray(run.segment(state, image[None]))[0]
        predicted = pictures.classes_of(clusters, result.mapping) if result else clusters
        painted = pictures.paint(predicted, classes)
        truth = [pictures.paint(label, classes)] if result else []
        rows.append([image[..., :3], *truth, painted, pictures.overlay(image, painted)])
    titles = ['image', *(['label (black: none)'] if result else []), 'prediction', 'overlay']
    step = int(state.step)
    caption = f'{run.directory.name}, step {step}'
    path = workdir.picture(run.directory, step)
    path.parent.mkdir(exist_ok=True)
    pictures.panel(rows, titles, classes, caption).save(path)
    print(f'Pictures: {path}')
