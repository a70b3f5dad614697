"""The order of events in a run."""

import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import optax
from jax.sharding import Mesh
from tqdm.contrib.logging import logging_redirect_tqdm

from ar_seg_jax.interfaces import Batch, Method
from ar_seg_jax.training import metrics, sharding
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.metrics import Evaluation, every
from ar_seg_jax.training.profiling import Trace
from ar_seg_jax.training.state import TrainState, create_state
from ar_seg_jax.training.step import make_train_step
from ar_seg_jax.training.stopping import Interrupted, Stop
from ar_seg_jax.training.watch import Watch

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When things happen, in steps; 0 means never, but the last step is always logged, evaluated and saved.

    traced: first and last step of a trace for the profiler.
    """

    steps: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    traced: tuple[int, int] | None = None

    def logs(self, step: int) -> bool:
        return step in (1, self.steps) or every(step, self.log_every)

    def evaluates(self, step: int) -> bool:
        return step > 0 and (step == self.steps or every(step, self.evaluate_every))

    def saves(self, step: int) -> bool:
        return step == self.steps or every(step, self.checkpoint_every)


def run(
    method: Method,
    tx: optax.GradientTransformation,
    batches_from: Callable[[int], Iterator[Batch]],
    mesh: Mesh,
    checkpoints: Checkpoints,
    *,
    schedule: Schedule,
    seed: int,
    image_shape: tuple[int, int, int, int],
    micro_batches: int,
    evaluate: Callable[[TrainState], Evaluation],
    watch: Watch,
    stop: Stop,
    workdir: Path,
) -> TrainState:
    """Trains from the newest checkpoint, or from the beginning, to the last step or until asked to stop; returns the state.

    `batches_from` gives this process's batches from a step on. `evaluate` raises Interrupted to leave when asked to stop.
    The state is saved when this returns. A run that ended in any way, and is run again, writes the same records of metrics
    as one that did not, up to their times. Raises FloatingPointError for `watch`, OSError if the last state was not saved.
    """
    state = initial_state(method, tx, seed, image_shape, mesh)
    if checkpoints.latest is not None:
        state = checkpoints.restore(state)
        _logger.info('Resuming after step %d from %s', int(state.step), checkpoints.directory)
    train_step = jax.jit(make_train_step(method, tx, micro_batches), donate_argnums=0)
    batch_sharding = sharding.split_batch(mesh, micro_batches)
    step = start = int(state.step)
    active = jax.process_index() == 0
    writer = metrics.MetricWriter(workdir, start, active)
    progress = metrics.Progress(start, schedule.steps, image_shape[0], active)
    trace = Trace(schedule.traced if active else None, workdir / 'tensorboard')
    batches = batches_from(start)
    before = None  # the step before, whose health is asked once the next one is under way: the devices never wait

    def evaluate_and_write():
        writer.evaluation(step, evaluate(state))
        progress.pause()

    with logging_redirect_tqdm([logging.getLogger('ar_seg_jax')]):
        try:
            if schedule.evaluates(start) and not writer.evaluated:
                evaluate_and_write()
            while step < schedule.steps and not stop.agreed():
                step += 1
                with trace.step(step):
                    with progress.waiting():
                        batch = sharding.place(next(batches), batch_sharding)
                    state, scalars, health = train_step(state, batch)
                    if before:
                        watch.check(*before, state)
                before = (step, scalars, health)
                progress.step()
                if schedule.logs(step) or step == start + 1:
                    watch.check(*before, state)
                    before = None
                    record = {**scalars, 'gradient_norm': health.gradient_norm, 'skipped_steps': health.skipped}
                    _log(step, schedule, record, progress, writer)
                    checkpoints.settle(wait=False)
                if schedule.saves(step):
                    checkpoints.save(state)
                    progress.pause()
                if schedule.evaluates(step):
                    evaluate_and_write()
        except Interrupted:
            pass
        except FloatingPointError:
            checkpoints.settle()
            raise
        finally:
            progress.close()
            writer.close()
    checkpoints.save(state)
    checkpoints.close()
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
    _logger.info(metrics.describe(step, schedule.steps, scalars))
    # An untrained network starts with nearly one cluster; that is no collapse yet.
    if step > 1 and (warning := metrics.collapse_warning(scalars)):
        _logger.warning(warning)
    if schedule.logs(step):  # and not the line that only shows that a resumed run is alive
        writer.training(step, scalars)
