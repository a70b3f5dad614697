"""A run: from a config and a directory to a trained state."""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, UInt8

from ar_seg_jax import build, workdir
from ar_seg_jax.evaluation import segmentation
from ar_seg_jax.evaluation.probes import Probes
from ar_seg_jax.interfaces import Batch, Method, Outputs
from ar_seg_jax.training import loop, peers, sharding
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.state import TrainState
from ar_seg_jax.training.stopping import Interrupted, Stop

_logger = logging.getLogger(__name__)

_REFRESH_BATCHES = 20  # training batches that a method sees before its state is saved or evaluated


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
    probes: Probes
    lock: IO[str] | None

    @property
    def title(self) -> str:
        """What the method is called."""
        return self.config['method']['name'].upper()

    def predict(self, state: TrainState, image: UInt8[Array, 'batch height width channels']) -> Outputs:
        """The outputs of the network of inference at a state."""
        return self.method.predict(state.params, state.extra, image)


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

    count = segmentation.make_counter(segment, method.num_clusters, len(data.classes))
    checkpoints = Checkpoints(workdir.checkpoints(directory), config['keep_checkpoints'], config['keep_every'], writable=training)
    probes = build.probes(config)
    return Run(directory, config, mesh, method, tx, data, checkpoints, jax.jit(segment), count, probes, lock)


# Of a run, with the batches of a split that is named, at a state.
Evaluate = Callable[[Run, Callable[[str], Iterable[Batch]], TrainState], Evaluation]


def train(run: Run, evaluate: Evaluate) -> tuple[TrainState, bool]:
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
            refresh=functools.partial(refreshed, run),
            evaluate=functools.partial(evaluate, run, batches),
            watch=build.watch(run.config),
            stop=stop,
            workdir=run.directory,
        )
    step = int(state.step)
    if step < schedule.steps:
        _logger.warning('Stopped after step %d, which is saved in %s; the same command goes on', step, run.checkpoints.directory)
    return state, step >= schedule.steps


def initial_state(run: Run) -> TrainState:
    """The state before training: the untrained network of this run's seed."""
    return loop.initial_state(run.method, run.tx, run.config['seed'], run.data.image_shape, run.mesh)


def untrained(run: Run) -> TrainState:
    """The state before training, ready to be evaluated."""
    return refreshed(run, initial_state(run))


def refreshed(run: Run, state: TrainState) -> TrainState:
    """The state with whatever the method needs for predictions brought up to date."""
    batches = run.data.placed_sample(_REFRESH_BATCHES)
    key = jax.random.fold_in(jax.random.key(run.config['seed']), state.step)
    return state.replace(extra=run.method.refresh(state.params, state.extra, batches, key=key))


def _announce(run: Run, schedule: loop.Schedule):
    shapes = jax.eval_shape(lambda: initial_state(run))
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes.params))
    sizes = ', '.join(f'{split} {info.num_examples}' for split, info in run.data.builder.info.splits.items())
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
    _logger.info('Model: %s parameters, %d clusters', f'{parameters:,}', run.method.num_clusters)
    _logger.info('Training on %r to step %d; everything goes to %s', run.data.train_split, schedule.steps, run.directory)
    _logger.info('Checkpoints: %s', run.checkpoints.directory)
    _logger.info('The loss is minus the mutual information of two views in nats (ARL: minus a bound on it)')
