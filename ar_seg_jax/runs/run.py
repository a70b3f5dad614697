"""A run: from a config and a directory to a trained state."""

import dataclasses
import logging
import math
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import jax

from ar_seg_jax import build, files, processes, sharding
from ar_seg_jax.data import moments
from ar_seg_jax.data.builder import form
from ar_seg_jax.data.dataset import Dataset
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation.evaluator import Subject
from ar_seg_jax.interfaces import Guard, Method, ModelState, Normalisation
from ar_seg_jax.runs import assembly, changes, checks, naming, programs, workdir
from ar_seg_jax.runs.report import Reporter
from ar_seg_jax.training import loop, memory, peers
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.outputs import Outputs
from ar_seg_jax.training.state import TrainState
from ar_seg_jax.training.stopping import Stop
from ar_seg_jax.training.task import Task

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Run:
    """The objects of a run. Its directory is locked, for training, until `lock` is closed or the process ends."""

    directory: Path
    config: Mapping[str, Any]
    task: Task
    reporter: Reporter
    checkpoints: Checkpoints
    outputs: Outputs
    lock: IO[str] | None


def open_run(
    config: Mapping[str, Any],
    directory: Path,
    *,
    training: bool,
    data_dir: str | None = None,
    split: str | None = None,
    changed_data: bool = False,
    names: Path | None = None,
) -> Run:
    """Builds what a config describes.

    For training the directory is locked, and data is prepared where it has to be. Without training nothing is written yet,
    and the config, which may come from anywhere, cannot say where: data is read only, unless `data_dir` is given. `split` is
    scored and pictured instead of that of the config, and what is written has its name. A training goes on with data that changed
    since it began only with `changed_data`. `names` are a file with those of clusters, see `naming`; a
    training looks at none. Raises UserError for a config that is wrong, before anything is prepared or written
    where that can be told.
    """
    workdir.check_types(config)
    if data_dir:
        config = {**config, 'data': {**config['data'], 'data_dir': data_dir}}
    mesh = sharding.make_mesh()
    peers.require_same({'config': workdir.plain(config), 'workdir': str(directory.resolve()), 'jax': jax.__version__})
    method = build.method(config)
    data = assembly.dataset(config, mesh, method.uses_place, method.region_size)
    binds = workdir.holds_state(directory)  # a start that failed before the first save does not
    checks.check(config, method, data, begins=training and not binds)
    workdir.check_inside(directory)
    workdir.check_config(directory, config, binds)
    changes.check(directory, data.builder, accepted=changed_data or not training)
    first = jax.process_index() == 0
    lock = workdir.claim(directory) if training and first else None
    programs.keep(config['compilation_cache'] if training else '')
    data = assembly.prepared(data, may_write=training or bool(data_dir))
    measured = _measured(config, directory, data, binds)
    method = build.method(config, measured)
    task = assembly.task(config, method, data, mesh)
    own_split = config['evaluation']['split']
    split = split or own_split
    title = 'before training' if config['initial_weights']['file'] else 'untrained network'
    subject = Subject(method, data, split, config['seed'], lambda: _before_training(task), title)
    if not training:
        subject = dataclasses.replace(subject, names=_names(directory, method, data, names))
    evaluators = assembly.evaluators(config, subject)
    if training and first:
        prepared = data.builder
        workdir.save_config(directory, config)
        workdir.save_data(directory, form(prepared), data.classes, prepared.builder_config.name, measured)
    peers.wait('the directory of the run is ready')
    if not (directory / 'config.json').exists():
        raise UserError(f'{directory} of process 0 is not there; all processes need the same --workdir on a shared disk')
    checkpoints = _checkpoints(config, directory) if training else Checkpoints(workdir.checkpoints(directory))
    part = split if split != own_split else ''
    outputs = Outputs(directory)
    reporter = Reporter(outputs, evaluators, data, split, config['evaluation']['pictures'], part)
    return Run(directory, config, task, reporter, checkpoints, outputs, lock)


def _measured(config: Mapping[str, Any], directory: Path, data: Dataset, binds: bool) -> Normalisation | None:
    """Of the training images, if the model wants that: what the run has been trained with, or, as it begins, what they have."""
    if not build.wants_measured(config):
        return None
    found = workdir.load_normalisation(directory) if binds else moments.measured(data.examples(data.train_split))
    peers.require_same({'mean and deviation of the training images': found})
    return found


def _names(directory: Path, method: Method, data: Dataset, names: Path | None) -> Callable[[int], Sequence[int] | None]:
    """See `Subject.names`."""
    return lambda step: naming.as_labels(directory, step, data.classes, method.num_clusters, names)


def train(run: Run) -> tuple[TrainState, bool]:
    """Trains, or goes on training; the state, and whether that is the last step: not if the run was asked to stop."""
    schedule = assembly.schedule(run.config, run.task.data)
    _announce(run, schedule)
    with Stop(run.task.mesh) as stop:
        state = loop.run(
            run.task,
            run.checkpoints,
            schedule=schedule,
            evaluate=lambda state, guard: _follow(run, state, guard),
            watch=assembly.watch(run.config),
            stop=stop,
            outputs=run.outputs,
        )
        stopped = stop.agreed()
    _logger.info('Peak memory: %.2f GB on %s', memory.peak_bytes() / 1e9, jax.devices()[0].device_kind)
    _check_there(run)
    step = int(state.step)
    if stopped or step < schedule.steps:
        _logger.warning('Stopped after step %d, which is saved in %s; the same command goes on', step, run.checkpoints.directory)
        return state, False
    return state, True


def _follow(run: Run, state: TrainState, guard: Guard) -> Evaluation:
    _check_there(run)
    return run.reporter.follow(state, guard)


def report(run: Run, state: ModelState, afterwards: Callable[[], None] = lambda: None) -> bool:
    """All that can be said of the last state, which is saved, and what is done `afterwards`; whether it was: not if a signal
    ended it before."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in processes.stop_signals()}
    try:
        run.reporter.report(state)
        _check_there(run)
        afterwards()
    except KeyboardInterrupt:
        _logger.warning('Stopped while step %d, which is saved, was scored; the same command scores it again', int(state.step))
        if jax.process_count() > 1:
            if lost := run.outputs.lost():
                _logger.error('%s', lost)
            os._exit(os.EX_TEMPFAIL)  # an orderly end would wait for the others
        return False
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return True


def _check_there(run: Run):
    if run.lock and not files.is_at(run.lock, workdir.lock(run.directory)):
        raise UserError(
            f'{run.directory} was removed or replaced while the run was under way: what was written before is not there any more'
        )


def evaluated(run: Run, step: int | None) -> ModelState:
    """The model after a step, by default the last one that was saved; step 0 is the network before training."""
    if step == 0:
        return run.task.read_out(run.task.initial_state()).model
    return run.checkpoints.restore_model(run.task.shapes().model, step)


def _checkpoints(config: Mapping[str, Any], directory: Path) -> Checkpoints:
    """Those that a training writes."""
    return Checkpoints(
        workdir.checkpoints(directory),
        config['keep_checkpoints'],
        config['keep_every'],
        writable=True,
        patience=config['save_seconds'],
    )


def _before_training(task: Task) -> ModelState | None:
    """The model before training, for a row beside others; None, with a warning, if the weights that it had are gone."""
    try:
        state = task.initial_state()
    except UserError as error:
        _logger.warning('The network before training is not scored: %s', error)
        return None
    return task.read_out(state).model


def _announce(run: Run, schedule: loop.Schedule):
    task, data, mesh = run.task, run.reporter.data, run.task.mesh
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(task.shapes().params))
    sizes = ', '.join(f'{split} {info.num_examples}' for split, info in data.builder.info.splits.items())
    _logger.info(
        'Devices: %d x %s in %d process%s, mesh %s; batch %d, %d on each device%s',
        mesh.size,
        jax.devices()[0].device_kind,
        jax.process_count(),
        'es' if jax.process_count() > 1 else '',
        dict(mesh.shape),
        data.image_shape[0],
        data.image_shape[0] // mesh.size,
        f' in {task.micro_batches} parts' if task.micro_batches > 1 else '',
    )
    _logger.info('Data: %s (%s)', data.builder.builder_config.name, sizes)
    _logger.info('Method: %s, %s parameters, %d clusters', task.method.title, f'{parameters:,}', task.method.num_clusters)
    _logger.info('Training on %r to step %d; everything goes to %s', data.train_split, schedule.steps, run.directory)
    if task.method.phases:
        phases = dict.fromkeys(task.method.phase(phase.begin) for phase in task.method.phases)  # those that have steps
        begins = ', '.join(f'{phase.name} from step {phase.begin + 1}' for phase in phases)
        _logger.info('Phases: %s', begins)
    _logger.info('Checkpoints: %s', run.checkpoints.directory)
    _logger.info('The loss is %s', task.method.loss_in_words)
