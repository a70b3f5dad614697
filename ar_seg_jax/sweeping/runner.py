"""Runs what a table needs and is not there yet."""

import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple

from ar_seg_jax.errors import UserError
from ar_seg_jax.processes import Children, Stopped, reason
from ar_seg_jax.sweeping import state
from ar_seg_jax.sweeping.plan import BASE, Key, Sweep, Training, lookup, protocols, same

_logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """Why the training of a run failed, and the scoring of its network before training; '' for what is there."""

    trained: str
    untrained: str


Outcomes = Mapping[Key, Outcome]


def run_all(sweep: Sweep, trainings: Sequence[Training], jobs: int, tell: Callable[[Outcomes], Any]) -> tuple[Outcomes, bool]:
    """Runs `jobs` at once and calls `tell` with all outcomes so far after each.

    Returns the outcomes, and whether they are all there: False if a signal ended it before.
    """
    outcomes: dict[Key, Outcome] = {}
    # Each of several on one accelerator would take most of its memory.
    share = {'XLA_PYTHON_CLIENT_MEM_FRACTION': f'{0.9 / jobs:.3f}'} if jobs > 1 else {}
    with Children(share | os.environ) as children, ThreadPoolExecutor(jobs) as pool:
        try:
            futures = {pool.submit(_run, sweep, one, children): one for one in trainings}
            for future in as_completed(futures):
                key = futures[future].key
                try:
                    outcomes[key] = future.result()
                except Stopped:
                    continue
                told = next(filter(None, outcomes[key]), 'done')
                _logger.info('%d of %d: %s, seed %d: %s', len(outcomes), len(trainings), *key, told)
                tell(outcomes)
        except BaseException:
            children.stop(signal.SIGTERM)
            raise
    return outcomes, len(outcomes) == len(trainings)


def training_command(sweep: Sweep, training: Training) -> list[str]:
    """The command that trains and evaluates, as a person would type it."""
    overrides = dict(sweep.overrides) | dict(training.overrides) | _evaluation(training) | {'seed': training.seed}
    arguments = [f'--config.{name}={value}' for name, value in overrides.items()]
    directory = str(state.directory_of(sweep.directory, training.key))
    return [sys.executable, '-m', 'ar_seg_jax.main', '--config', training.base.file, *arguments, '--workdir', directory]


def scoring_command(sweep: Sweep, training: Training) -> list[str]:
    """The command that scores the network of a run before training."""
    directory = str(state.directory_of(sweep.directory, training.key))
    return [sys.executable, '-m', 'ar_seg_jax.evaluate', '--workdir', directory, '--step', '0']


def _evaluation(training: Training) -> dict[str, Any]:
    """What the evaluation of a run has different from its config; only base runs have baselines and pictures."""
    is_base = training.slug == BASE
    values = {
        'evaluators.segmentation.protocols': training.protocols,
        'evaluators.segmentation.baselines': is_base,
        'evaluators.instances.baselines': is_base,
        'evaluators.probes.names': training.probes,
    }
    if not is_base:
        values['evaluation.pictures'] = 0
    known = {name: lookup(training.base.config, name) for name in values}
    if known['evaluators.segmentation.protocols'] is not None:
        known['evaluators.segmentation.protocols'] = [one.short for one in protocols(training.base.config)]
    return {name: value for name, value in values.items() if known[name] is not None and not same(known[name], value)}


def _run(sweep: Sweep, training: Training, children: Children) -> Outcome:
    """Brings a run to its end."""
    try:
        before = state.evaluation(sweep.directory, training.key, untrained=True)
        if state.finished(sweep.directory, training):
            missing = training.untrained and state.lacking(before, dataclasses.replace(training, methods=()))
            return Outcome('', _call(children, sweep, training, scoring_command(sweep, training)) if missing else '')
        training = state.keeping(state.evaluation(sweep.directory, training.key), training)
        if failure := _call(children, sweep, training, training_command(sweep, training)):
            return Outcome(failure, failure)
        # What was scored before may have been scored in another way.
        again = training.untrained or before
        failure = _call(children, sweep, training, scoring_command(sweep, training)) if again else ''
        state.finish(sweep.directory, training)
        return Outcome('', failure)
    except (UserError, OSError) as error:
        return Outcome(str(error), str(error))


def _call(children: Children, sweep: Sweep, training: Training, command: Sequence[str]) -> str:
    log = state.log_of(sweep.directory, training.key)
    _logger.info('%s, seed %d: %s, log in %s', *training.key, command[2], log)
    status = children.run(command, log)
    if not status:
        return ''
    how = f'exit status {status}' if status > 0 else f'ended by signal {-status}'
    return f'{how}, see {log.relative_to(sweep.directory)}: {reason(log)}'
