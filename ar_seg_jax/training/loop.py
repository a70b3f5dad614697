"""The order of events in a run."""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import optax
from jax.sharding import Mesh

from ar_seg_jax.interfaces import Batch, Method
from ar_seg_jax.training import sharding
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.profiling import Trace
from ar_seg_jax.training.report import Report
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
        return step in (1, self.steps) or _every(step, self.log_every)

    def evaluates(self, step: int) -> bool:
        return step > 0 and (step == self.steps or _every(step, self.evaluate_every))

    def saves(self, step: int) -> bool:
        return step == self.steps or _every(step, self.checkpoint_every)


def _every(step: int, period: int) -> bool:
    return period > 0 and step % period == 0


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
    refresh: Callable[[TrainState], TrainState],
    evaluate: Callable[[TrainState], Evaluation],
    watch: Watch,
    stop: Stop,
    workdir: Path,
) -> TrainState:
    """Trains from the newest checkpoint, or from the beginning, to the last step or until asked to stop; returns the state.

    `batches_from` gives this process's batches from a step on. `refresh` comes before saving and evaluating. `evaluate`
    raises Interrupted to leave when asked to stop. The state is saved when this returns. A run that ended in any way, and is
    run again, writes the same records of metrics as one that did not, up to their times. Raises FloatingPointError for
    `watch`, OSError if the last state was not saved.
    """
    state = initial_state(method, tx, seed, image_shape, mesh)
    if checkpoints.latest is not None:
        state = checkpoints.restore(state)
        _logger.info('Resuming after step %d from %s', int(state.step), checkpoints.directory)
    train_step = jax.jit(make_train_step(method, tx, micro_batches), donate_argnums=0)
    batch_sharding = sharding.split_batch(mesh, micro_batches)
    step = start = int(state.step)
    first_process = jax.process_index() == 0
    trace = Trace(schedule.traced if first_process else None, workdir / 'tensorboard')
    batches = batches_from(start)
    before = None  # the step before, whose health is asked once the next one is under way: the devices never wait

    report = Report(workdir, start, schedule.steps, image_shape[0], first_process)
    with contextlib.suppress(Interrupted), checkpoints.completed(), report, trace:
        if schedule.evaluates(start) and not report.evaluated:
            report.evaluation(start, functools.partial(evaluate, state))
        while step < schedule.steps and not stop.agreed():
            step += 1
            with trace.step(step):
                with report.waiting():
                    batch = sharding.place(next(batches), batch_sharding)
                with jax.set_mesh(mesh):
                    state, scalars, health = train_step(state, batch)
                if before:
                    watch.check(*before, state)
            before = (step, scalars, health)
            report.step()
            if schedule.logs(step) or step == start + 1:
                watch.check(*before, state)
                before = None
                scalars |= {'gradient_norm': health.gradient_norm, 'skipped_steps': health.skipped}
                # A line shows at once that a resumed run is alive; it is no record of the run's own cadence.
                report.training(step, scalars, recorded=schedule.logs(step))
                checkpoints.settle(wait=False)
            if schedule.saves(step) or schedule.evaluates(step):
                with report.pause():
                    state = refresh(state)
            if schedule.saves(step):
                with report.pause():
                    checkpoints.save(state)
            if schedule.evaluates(step):
                report.evaluation(step, functools.partial(evaluate, state))
    if not (schedule.saves(step) or schedule.evaluates(step)):
        state = refresh(state)
    checkpoints.save(state)
    checkpoints.close()
    return state


def initial_state(method: Method, tx: optax.GradientTransformation, seed: int, image_shape, mesh: Mesh) -> TrainState:
    """The state before training, on every device of the mesh; the same on all of them and on any number of them."""
    image = jax.ShapeDtypeStruct(image_shape, 'uint8')

    def create() -> TrainState:
        return create_state(method, tx, seed, jax.numpy.zeros(image.shape, image.dtype))

    return jax.jit(create, out_shardings=sharding.replicated(mesh))()
