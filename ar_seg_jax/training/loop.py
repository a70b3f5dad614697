"""The order of events in a run."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import grain
import jax
import optax
from jax.sharding import Mesh
from tqdm.contrib.logging import logging_redirect_tqdm

from ar_seg_jax.interfaces import Method
from ar_seg_jax.training import metrics, sharding
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.state import TrainState, create_state
from ar_seg_jax.training.step import make_train_step

_logger = logging.getLogger(__name__)

Evaluate = Callable[[TrainState], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When things happen, in steps; 0 means never, but the last step is always logged, evaluated and saved."""

    steps: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int


def run(
    method: Method,
    tx: optax.GradientTransformation,
    batches: grain.DatasetIterator,
    mesh: Mesh,
    checkpoints: Checkpoints,
    *,
    schedule: Schedule,
    seed: int,
    image_shape: tuple[int, int, int, int],
    evaluate: Evaluate,
    workdir: Path,
) -> TrainState:
    """Trains from the newest checkpoint, or from the beginning, to the last step; returns the last state.

    `evaluate` gives scalars of a state. Raises FloatingPointError when the loss is not finite at a logging step.
    """
    state = initial_state(method, tx, seed, image_shape, mesh)
    if checkpoints.latest is not None:
        state = checkpoints.restore(state, batches=batches)
        _logger.info('Resuming after step %d from %s', int(state.step), checkpoints.directory)
    train_step = jax.jit(make_train_step(method, tx), donate_argnums=0)
    batch_sharding = sharding.split_batch(mesh)
    start = int(state.step)
    active = jax.process_index() == 0
    writer = metrics.MetricWriter(workdir, active)
    progress = metrics.Progress(start, schedule.steps, image_shape[0], active)
    with logging_redirect_tqdm([logging.getLogger('ar_seg_jax')]):
        for step in range(start + 1, schedule.steps + 1):
            waiting = time.perf_counter()
            batch = sharding.place(next(batches), batch_sharding)
            progress.waited(time.perf_counter() - waiting)
            state, scalars = train_step(state, batch)
            progress.step()
            last = step == schedule.steps
            if last or step == start + 1 or metrics.every(step, schedule.log_every):
                _log(step, schedule, scalars, progress, writer)
            if last or metrics.every(step, schedule.evaluate_every):
                writer.write(step, evaluate(state))
                progress.pause()
            if last or metrics.every(step, schedule.checkpoint_every):
                checkpoints.save(state, batches)
                progress.pause()
    progress.close()
    writer.close()
    return state


def initial_state(method: Method, tx: optax.GradientTransformation, seed: int, image_shape, mesh: Mesh) -> TrainState:
    """The state before training, on every device of the mesh; the same on all of them and on any number of them."""
    image = jax.ShapeDtypeStruct(image_shape, 'uint8')

    def create() -> TrainState:
        return create_state(method, tx, seed, jax.numpy.zeros(image.shape, image.dtype))

    return jax.jit(create, out_shardings=sharding.replicated(mesh))()


def _log(step: int, schedule: Schedule, scalars, progress: metrics.Progress, writer: metrics.MetricWriter):
    scalars = {name: float(value) for name, value in scalars.items()}  # waits for the device
    scalars |= progress.rates(step)
    if not math.isfinite(scalars['loss']):
        raise FloatingPointError(
            f'the loss is {scalars["loss"]} at step {step}; lower the learning rate (--config.learning_rate). '
            'The last checkpoint is kept.'
        )
    _logger.info(metrics.describe(step, schedule.steps, scalars))
    # An untrained network starts with nearly one cluster; that is no collapse yet.
    if step > 1 and (warning := metrics.collapse_warning(scalars)):
        _logger.warning(warning)
    writer.write(step, scalars)
