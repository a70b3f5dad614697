"""The order of events in a run."""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable

import jax

from ar_seg_jax import sharding
from ar_seg_jax.interfaces import Guard
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.compilation import Compilation
from ar_seg_jax.training.delivery import Interrupted
from ar_seg_jax.training.journal import Journal
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.outputs import Outputs
from ar_seg_jax.training.profiling import Trace
from ar_seg_jax.training.state import TrainState
from ar_seg_jax.training.step import Watch
from ar_seg_jax.training.stopping import Stop
from ar_seg_jax.training.task import Task

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
        return step > 0 and (step == self.steps or _every(step, self.checkpoint_every))


def _every(step: int, period: int) -> bool:
    return period > 0 and step % period == 0


class _Readouts:
    """Reads a state out once: a second time need not give what was evaluated or saved after the first one.

    done: step of the state that was read out last, or None.
    """

    def __init__(self, task: Task, done: int | None):
        self._task, self._done = task, done

    def current(self, step: int) -> bool:
        """Whether a state of this step can be predicted with as it is."""
        return step == self._done or not self._task.reads_out

    def of(self, state: TrainState, step: int) -> TrainState:
        """The state, at this step, as it can be evaluated and saved."""
        if step != self._done:
            state, self._done = self._task.read_out(state), step
        return state


Evaluate = Callable[[TrainState, Guard], Evaluation]  # at a state; the guard goes around all batches that are read


def run(
    task: Task,
    checkpoints: Checkpoints,
    *,
    schedule: Schedule,
    evaluate: Evaluate,
    watch: Watch,
    stop: Stop,
    outputs: Outputs,
) -> TrainState:
    """Trains from the newest checkpoint, or from the beginning, to the last step or until asked to stop; returns the state.

    The state is saved when this returns. A run that ended in any way, and is run again, writes the same records of metrics as
    one that did not, up to their times. Raises Diverged for `watch`, Stalled if no images come, UserError if the last state was
    not saved.
    """
    state = begin(task, checkpoints)
    batch_sharding = sharding.split_batch(task.mesh, task.micro_batches)
    step = start = int(state.step)
    readouts = _Readouts(task, done=checkpoints.latest)  # what was saved has been read out
    first_process = jax.process_index() == 0
    compilation = Compilation(outputs, first_process)
    trace = Trace(schedule.traced if first_process else None, outputs.directory / 'tensorboard')
    before = None  # the step before, whose health is asked once the next one is under way: the devices never wait

    journal = Journal(outputs, start, schedule.steps, task.data.image_shape[0], task.method.describe, first_process)
    with checkpoints.completed(lambda: task.whole(state) if readouts.current(step) and task.is_whole else None):
        with contextlib.suppress(Interrupted), journal, trace, compilation:
            batches = stop.delivered(task.batches(state, stop.computed)) if step < schedule.steps else iter(())
            if schedule.evaluates(start) and not journal.evaluated:
                journal.evaluation(start, functools.partial(evaluate, state, stop.guard))
            while step < schedule.steps and not stop.agreed():
                with trace.step(step + 1):
                    with journal.progress.waiting():  # first of all: whatever ends here leaves the state as it should be saved
                        batch = sharding.place(next(batches), batch_sharding)
                    if task.refreshes(step):
                        state = task.refreshed(state, stop.guard)
                    if task.begins_phase(step):
                        state = task.in_new_phase(state)
                    train_step, phase = task.compiled_step(step), task.method.phase(step)
                    step += 1
                    with jax.set_mesh(task.mesh), compilation.step(step, phase.name if phase else ''):
                        state, scalars, health = train_step(state, batch)
                    if before:
                        watch.check(*before, state)
                before = (step, scalars, health)
                journal.progress.step()
                if schedule.logs(step) or step == start + 1:
                    watch.check(*before, state)
                    before = None
                    scalars |= {'gradient_norm': health.gradient_norm, 'skipped_steps': health.skipped}
                    # A line shows at once that a resumed run is alive; it is no record of the run's own cadence.
                    journal.training(step, scalars, recorded=schedule.logs(step))
                    checkpoints.settle(wait=False)
                if schedule.saves(step) or schedule.evaluates(step):
                    with journal.progress.pause():
                        state = readouts.of(state, step)
                if schedule.saves(step):
                    with journal.progress.pause():
                        checkpoints.save(task.whole(state))
                if schedule.evaluates(step):
                    journal.evaluation(step, functools.partial(evaluate, state, stop.guard))
        state = readouts.of(state, step)
    checkpoints.settle()
    checkpoints.save(task.whole(state))
    checkpoints.close()
    return state


def begin(task: Task, checkpoints: Checkpoints) -> TrainState:
    """The state of the newest checkpoint, or that before training."""
    if checkpoints.latest is None:
        return task.initial_state()
    state = task.split(checkpoints.restore(task.shapes()))
    _logger.info('Resuming after step %d from %s', int(state.step), checkpoints.directory)
    return state
