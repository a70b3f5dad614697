"""How many clusters do these images have? Trains small runs for several numbers, and puts them on one page.

    python -m ar_seg_jax.explore --root DIR --workdir runs/explore [--clusters 2,3,4,5,6] [--seeds 2] [--minutes 10]
                                 [--config configs/mixture_folder.py] [--config.key=value ...]

After each run it says how long all of them take, and the last ones are left out where that is more than --minutes. Every run is
a python -m ar_seg_jax.main of its own, below the directory, and the same command again goes on where it stopped. explore.html
shows a run of each number side by side: clusters, label maps, and what can be said without labels; explore.md ranks all runs by
that (ar_seg_jax/select.py). These numbers are hints: no criterion is right for all kinds of images, so look at the label maps.
Label maps of the folder are not read.
"""

import dataclasses
import datetime
import itertools
import logging
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags
from ml_collections import config_flags

from ar_seg_jax import cli, processes
from ar_seg_jax.config_files import config_file
from ar_seg_jax.configuration import differences, in_words
from ar_seg_jax.errors import UserError

_logger = logging.getLogger('ar_seg_jax.explore')  # the module itself runs as __main__

_ROOT = flags.DEFINE_string('root', None, 'Folder of images.', required=True)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory for the runs and the page.', required=True)
_CLUSTERS = flags.DEFINE_list('clusters', ['2', '3', '4', '5', '6'], 'Numbers of clusters.')
_SEEDS = flags.DEFINE_integer('seeds', 2, 'Runs of each number, from other random numbers; two can be compared.', lower_bound=1)
_MINUTES = flags.DEFINE_float('minutes', 10, 'What all runs may take.', lower_bound=0)
_CONFIG = config_flags.DEFINE_config_file(
    'config', str(config_file('mixture_folder')), 'Config of the runs; --config.key=value sets a key.'
)
_OWN = {'seed', 'method.num_clusters', 'data.root', 'data.labels'}  # keys that are set here
_IMAGES = 40  # that runs are ranked by


class _Run(NamedTuple):
    """One training."""

    clusters: int
    seed: int

    @property
    def name(self) -> str:
        return f'clusters_{self.clusters}_seed_{self.seed}'


def main() -> int:
    numbers = _numbers(_CLUSTERS.value)
    overrides = config_flags.get_override_values(flags.FLAGS['config'])
    if found := sorted(_OWN.intersection(overrides)):
        raise UserError(f'--config.{found[0]} is set by explore: give --seeds, --clusters and --root; label maps are not read')
    directory = Path(_WORKDIR.value)
    # The first seed of all numbers comes first, so that an early end leaves one of each.
    wanted = [_Run(number, seed) for seed, number in itertools.product(range(_SEEDS.value), numbers)]
    if len(wanted) < 2:
        raise UserError('one run cannot be compared with others: give more numbers of --clusters, or --seeds=2')
    try:
        with processes.Children() as children:
            trained = _train(wanted, directory, overrides, children)
    except processes.Stopped:
        return os.EX_TEMPFAIL
    if len(trained) < 2:
        raise UserError(f'one run fits into --minutes={_MINUTES.value:g}, and two can be compared; give it more time')
    _show(trained, directory)
    return 0


def _numbers(given: Sequence[str]) -> list[int]:
    found = sorted({int(one) for one in given if one.isdecimal() and 1 < int(one) < 255})
    if len(found) != len(given):
        raise UserError(f'--clusters are different numbers from 2 to 254, such as 2,3,5; found {",".join(given)}')
    return found


def _train(wanted: Sequence[_Run], directory: Path, overrides: Mapping[str, object], children: processes.Children) -> list[_Run]:
    """Trains the runs that fit into the time; those that are there."""
    missing = [one for one in wanted if not _is_trained(one, directory, overrides)]
    _logger.info('%d runs below %s; the first of %d tells how long they take', len(wanted), directory, len(missing))
    begun = time.monotonic()
    for number, one in enumerate(missing, 1):
        if number > 1 and (time.monotonic() - begun) * number / (number - 1) > 60 * _MINUTES.value:
            _logger.warning('%d runs are left out: they do not fit into --minutes=%g', len(missing) - number + 1, _MINUTES.value)
            break
        _run(one, directory, overrides, children)
        taken = time.monotonic() - begun
        told = f'{_clock(taken)} so far, about {_clock(taken * len(missing) / number)} in all'
        _logger.info('%d of %d: %s; %s', number, len(missing), one.name, told)
    return [one for one in wanted if _is_trained(one, directory, overrides)]


def _run(one: _Run, directory: Path, overrides: Mapping[str, object], children: processes.Children):
    from ar_seg_jax import files

    log, command = directory / f'{one.name}.log', _command(one, directory, overrides)
    if status := children.run(command, log):
        raise UserError(f'{one.name} ended with status {status}, see {log}: {processes.reason(log)}')
    files.write_json(_done(one, directory), _made(one, overrides))


def _is_trained(one: _Run, directory: Path, overrides: Mapping[str, object]) -> bool:
    """Whether the run is there; UserError if it was made in another way."""
    from ar_seg_jax import files

    done = _done(one, directory)
    if not done.exists():
        return False
    if unlike := differences(files.read_json(done), _made(one, overrides)):
        raise UserError(f'{directory} holds another exploration: {in_words(unlike, one.name, "this one")}. Use another --workdir')
    return True


def _done(one: _Run, directory: Path) -> Path:
    """What says that a run is finished, and how it was made."""
    return directory / f'{one.name}.done.json'


def _made(one: _Run, overrides: Mapping[str, object]) -> dict[str, object]:
    """How a run is made, for JSON."""
    chosen = {'data.root': str(Path(_ROOT.value).absolute()), 'data.labels': False, 'method.num_clusters': one.clusters}
    options = {key: str(value) for key, value in {**overrides, **chosen, 'seed': one.seed}.items()}
    return {'config': Path(config_flags.get_config_filename(flags.FLAGS['config'])).name, **options}


def _command(one: _Run, directory: Path, overrides: Mapping[str, object]) -> list[str]:
    made, file = _made(one, overrides), config_flags.get_config_filename(flags.FLAGS['config'])
    options = [f'--config.{key}={value}' for key, value in made.items() if key != 'config']
    return [sys.executable, '-m', 'ar_seg_jax.main', '--config', file, *options, '--workdir', str(directory / one.name)]


def _show(trained: Sequence[_Run], directory: Path):
    """Ranks what was trained, and writes the page."""
    from ar_seg_jax import files
    from ar_seg_jax.choosing import runs
    from ar_seg_jax.reporting import gathering, page
    from ar_seg_jax.reporting.account import Account

    ranking = runs.choose({one.name: directory / one.name for one in trained}, _IMAGES)
    files.write(directory / 'explore.md', f'{ranking.markdown()}\n'.encode())
    accounts: list[Account] = []
    for one in trained:
        if one.seed == trained[0].seed:
            asked_for = [image.identifier for image in accounts[0].images] if accounts else []
            found = gathering.of_directory(directory / one.name, asked_for=asked_for)
            accounts.append(dataclasses.replace(found, facts={**found.facts, **ranking.words(one.name)}))
    files.write(directory / 'explore.html', page.of_runs(accounts))
    print(ranking.markdown())
    print(f'Page: {directory / "explore.html"}')
    best = ranking.candidates[0].name
    print(f'Label maps: python -m ar_seg_jax.predict --workdir {shlex.quote(str(directory / best))} --input DIR --output DIR')


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


if __name__ == '__main__':
    cli.run(main)
