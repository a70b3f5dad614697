"""A run: training from a config, and the report on a checkpoint."""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import UInt8

from ar_seg_jax import build, files, workdir
from ar_seg_jax.classes import numbered
from ar_seg_jax.data import pipeline
from ar_seg_jax.evaluation import baselines, pictures, segmentation
from ar_seg_jax.evaluation.segmentation import Result
from ar_seg_jax.interfaces import Batch, Method
from ar_seg_jax.training import loop, peers, sharding
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.state import TrainState
from ar_seg_jax.training.stopping import Interrupted, Stop

_logger = logging.getLogger(__name__)

_BASELINE_BATCHES = 20  # training batches from which k-means draws pixels


@dataclasses.dataclass(frozen=True)
class Run:
    """The objects of a run. `segment` and `count` are compiled once and serve every evaluation; `lock` is held, not read."""

    directory: Path
    config: Mapping[str, Any]
    mesh: Mesh
    method: Method
    tx: optax.GradientTransformation
    data: build.Data
    checkpoints: Checkpoints
    segment: segmentation.Segment
    count: segmentation.Count
    lock: IO[str] | None


def open_run(config: Mapping[str, Any], directory: Path, *, training: bool, data_dir: str | None = None) -> Run:
    """Builds what a config describes.

    For training the directory is locked for as long as the process lives, and data is prepared where it has to be. Without
    training nothing is written yet, and the config, which may come from anywhere, cannot say where: data is read only,
    unless `data_dir` is given.
    """
    if data_dir:
        config = {**config, 'data': {**config['data'], 'data_dir': data_dir}}
    mesh = sharding.make_mesh()
    peers.require_same({'config': workdir.plain(config), 'workdir': str(directory.resolve()), 'jax': jax.__version__})
    build.check_batches(config, mesh)
    method, tx = build.method(config), build.optimizer(config)
    workdir.check_inside(directory)
    workdir.check_config(directory, config)
    first = jax.process_index() == 0
    lock = workdir.claim(directory) if training and first else None
    cache = build.compilation_cache(config if training else {'compilation_cache': ''}, directory)
    if cache:
        jax.config.update('jax_compilation_cache_dir', str(cache))
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    data = build.data(config, mesh, may_prepare=training or bool(data_dir))
    if training and first:
        prepared = data.builder.builder_config
        workdir.save_config(directory, config)
        workdir.save_data(directory, prepared.channels, prepared.rescale, prepared.classes)
    peers.wait('the directory of the run is ready')
    if not (directory / 'config.json').exists():
        raise ValueError(f'{directory} of process 0 is not there; all processes need the same --workdir on a shared disk')

    def segment(state: TrainState, image):
        return jnp.argmax(method.predict(state.params, state.extra, image)['scores'], axis=-1)

    count = segmentation.make_counter(segment, method.model.num_clusters, len(data.classes))
    checkpoints = Checkpoints(workdir.checkpoints(directory), config['keep_checkpoints'], config['keep_every'], writable=training)
    return Run(directory, config, mesh, method, tx, data, checkpoints, jax.jit(segment), count, lock)


def train(run: Run) -> tuple[TrainState, bool]:
    """Trains, or goes on training; the state, and whether that is the last step, or the run was asked to stop before it."""
    schedule = build.schedule(run.config, run.data)
    _announce(run, schedule)
    with Stop(run.mesh) as stop:

        def batches(split: str) -> Iterator[Batch]:
            for batch in run.data.evaluation(split):
                if stop.agreed():
                    raise Interrupted
                yield batch

        state = loop.run(
            run.method,
            run.tx,
            run.data.training,
            run.mesh,
            run.checkpoints,
            schedule=schedule,
            seed=run.config['seed'],
            image_shape=run.data.image_shape,
            micro_batches=run.config['pipeline']['micro_batches'],
            evaluate=functools.partial(_evaluate, run, batches),
            watch=build.watch(run.config),
            stop=stop,
            workdir=run.directory,
        )
    step = int(state.step)
    if step < schedule.steps:
        _logger.warning('Stopped after step %d, which is saved in %s; the same command goes on', step, run.checkpoints.directory)
    return state, step >= schedule.steps


def _evaluate(run: Run, batches: Callable[[str], Iterable[Batch]], state: TrainState) -> Evaluation:
    """Scores under the first protocol, where there is one, and the pictures."""
    if not run.data.protocols:
        return Evaluation({}, _draw(run, state, None))
    (result,) = segmentation.evaluate(run.count, state, run.data.protocols[:1], batches)
    accuracy, mean_iou = _headline(result)
    _logger.info('step %d  accuracy %.4f  mIoU %.4f  (%s)', state.step, accuracy, mean_iou, result.protocol)
    name = result.protocol.short
    return Evaluation({f'{name}/accuracy': accuracy, f'{name}/mean_iou': mean_iou}, _draw(run, state, result))


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
    if _draw(run, state, next(iter(rows.values()))[0] if rows else None) is not None:
        print(f'Pictures: {workdir.picture(run.directory, step)}')


def _baselines(run: Run) -> dict[str, list[Result]]:
    data, clusters = run.data, run.method.model.num_clusters
    centroids = baselines.pixel_centroids(data.training_sample(_BASELINE_BATCHES), clusters, run.config['seed'])
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
    batch_size, parts = run.data.image_shape[0], run.config['pipeline']['micro_batches']
    _logger.info(
        'Devices: %d x %s in %d process%s, mesh %s; batch %d, %d on each device%s',
        run.mesh.size,
        jax.devices()[0].device_kind,
        jax.process_count(),
        'es' if jax.process_count() > 1 else '',
        dict(run.mesh.shape),
        batch_size,
        batch_size // run.mesh.size,
        f' in {parts} parts' if parts > 1 else '',
    )
    _logger.info('Data: %s (%s)', run.data.builder.builder_config.name, sizes)
    _logger.info('Model: %s parameters, %d clusters', f'{parameters:,}', clusters)
    _logger.info('Training on %r to step %d; everything goes to %s', run.data.train_split, schedule.steps, run.directory)
    _logger.info('Checkpoints: %s', run.checkpoints.directory)
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


def _draw(run: Run, state: TrainState, result: Result | None) -> UInt8[np.ndarray, 'height width 3'] | None:
    """Writes some images of the scored split with their labels and predictions; process 0 only, and if the config asks."""
    if jax.process_index() or not run.config['evaluation']['pictures']:
        return None
    state = sharding.local(state)
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
    panel = pictures.panel(rows, titles, classes, caption)
    files.write(workdir.picture(run.directory, step), pictures.png(panel))
    return np.asarray(panel)
