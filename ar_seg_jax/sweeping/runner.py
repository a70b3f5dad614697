"""Runs what a table needs and is not there yet."""

import dataclasses
import logging
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from ar_seg_jax import workdir
from ar_seg_jax.sweeping import places, state
from ar_seg_jax.sweeping.children import Children, Stopped
from ar_seg_jax.sweeping.plan import BASE, Config, Key, Run
from ar_seg_jax.text import printable

_logger = logging.getLogger(__name__)

_ERROR = re.compile(r'(error|[\w.]*(Error|Exception)): ')


class Outcome(NamedTuple):
    """Why the training of a run failed, and the scoring of its network before training; '' for what is there."""

    trained: str
    untrained: str


Outcomes = Mapping[Key, Outcome]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A directory and the base config of all that is in it: the file, what the user changed, and the result."""

    directory: Path
    file: str
    overrides: Mapping[str, Any]
    config: Config


def run_all(sweep: Sweep, runs: Sequence[Run], jobs: int, tell: Callable[[Outcomes], Any]) -> tuple[Outcomes, bool]:
    """Runs `jobs` at once and calls `tell` with all outcomes so far after each.

    Returns the outcomes, and whether they are all there: False if a signal ended it before.
    """
    outcomes: dict[Key, Outcome] = {}
    with Children() as children, ThreadPoolExecutor(jobs) as pool:
        try:
            futures = {pool.submit(_run, sweep, run, children): run for run in runs}
            for future in as_completed(futures):
                run = futures[future]
                try:
                    outcomes[run.key] = future.result()
                except Stopped:
                    continue
                told = next(filter(None, outcomes[run.key]), 'done')
                _logger.info('%d of %d: %s, seed %d: %s', len(outcomes), len(runs), *run.key, told)
                tell(outcomes)
        except BaseException:
            children.stop(signal.SIGTERM)
            raise
    return outcomes, len(outcomes) == len(runs)


def training(sweep: Sweep, run: Run) -> list[str]:
    """The command that trains a run and evaluates it, as a person would type it."""
    overrides = dict(sweep.overrides) | dict(run.overrides) | _evaluation(sweep.config, run) | {'seed': run.seed}
    arguments = [f'--config.{name}={value}' for name, value in overrides.items()]
    directory = places.run(sweep.directory, run.key)
    return [sys.executable, '-m', 'ar_seg_jax.main', '--config', sweep.file, *arguments, '--workdir', str(directory)]


def scoring(sweep: Sweep, run: Run) -> list[str]:
    """The command that scores the network of a run before training."""
    return [sys.executable, '-m', 'ar_seg_jax.evaluate', '--workdir', str(places.run(sweep.directory, run.key)), '--step', '0']


def _evaluation(config: Config, run: Run) -> dict[str, Any]:
    """What the evaluation of a run has different from the base config; only base runs have baselines and pictures."""
    known = workdir.plain(config['evaluation'])
    values = {'protocols': run.protocols, 'probes': run.probes, 'baselines': run.slug == BASE}
    if run.slug != BASE:
        values['pictures'] = 0
    return {f'evaluation.{name}': value for name, value in values.items() if known[name] != workdir.plain(values)[name]}


def _run(sweep: Sweep, run: Run, children: Children) -> Outcome:
    """Brings a run to its end."""
    try:
        before = state.evaluation(sweep.directory, run.key, untrained=True)
        if state.finished(sweep.directory, run, sweep.config):
            missing = run.untrained and state.lacking(before, dataclasses.replace(run, methods=()))
            return Outcome('', _call(children, sweep, run, scoring(sweep, run)) if missing else '')
        run = state.keeping(state.evaluation(sweep.directory, run.key), run)
        if failure := _call(children, sweep, run, training(sweep, run)):
            return Outcome(failure, failure)
        # What was scored before may have been scored in another way.
        failure = _call(children, sweep, run, scoring(sweep, run)) if run.untrained or before else ''
        state.finish(sweep.directory, run, sweep.config)
        return Outcome('', failure)
    except (ValueError, OSError) as error:
        return Outcome(str(error), str(error))


def _call(children: Children, sweep: Sweep, run: Run, command: Sequence[str]) -> str:
    log = places.log(sweep.directory, run.key)
    _logger.info('%s, seed %d: %s, log in %s', *run.key, command[2], log)
    status = children.run(command, log)
    if not status:
        return ''
    how = f'exit status {status}' if status > 0 else f'ended by signal {-status}'
    return f'{how}, see {log.relative_to(sweep.directory)}: {_reason(log)}'


def _reason(log: Path) -> str:
    """The last line of a log that names an error, since JAX says more after it, or else the last line."""
    lines = [line for line in log.read_text(errors='replace').splitlines() if line.strip()]
    naming = [line for line in lines if _ERROR.match(line)]
    return printable((naming or lines or ['it is empty'])[-1])
