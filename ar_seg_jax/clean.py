"""Removes prepared data that no run uses any more, and what killed preparations left.

    python -m ar_seg_jax.clean [--data_dir DIR] [--workdir RUN,RUN] [--yes]

Lists what was prepared in --data_dir for none of the runs below the current directory, and none of those of --workdir, with its
size; removes it when the answer to the question is y. Images that data was prepared from are never touched: what is needed again
is prepared again. Data that a process reads or prepares stays; of a run that is older than such records all variants of its data
set do.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from ar_seg_jax import cli
from ar_seg_jax.errors import UserError

_DATA_DIR = flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'Directory of prepared data, as in config.data.data_dir.')
_WORKDIR = flags.DEFINE_list('workdir', [], 'Runs whose data is kept, beside those below the current directory.')
_YES = flags.DEFINE_bool('yes', False, 'Remove without asking.')

_logger = logging.getLogger('ar_seg_jax.clean')  # the module itself runs as __main__


def main():
    from ar_seg_jax import files
    from ar_seg_jax.data import prepared
    from ar_seg_jax.runs import usage

    data_dir = files.expanded(_DATA_DIR.value).resolve()
    if not data_dir.is_dir():
        raise UserError(f'{data_dir}: no such directory; --data_dir is that of config.data.data_dir')
    runs = usage.runs(Path.cwd(), map(files.expanded, _WORKDIR.value))
    used = usage.of(runs)
    unused = [entry for entry in prepared.found(data_dir) if entry.killed or not used(*entry.variant)]
    for entry in unused:
        killed = '  left by a killed preparation' if entry.killed else ''
        print(f'{_in_bytes(entry.size):>10}  {entry.directory.relative_to(data_dir)}{killed}')
    total = _in_bytes(sum(entry.size for entry in unused))
    print(f'{len(unused)} prepared in {data_dir}, {total}, used by none of {len(runs)} runs')
    if unused and _may_remove(len(runs)):
        _remove(unused, prepared.remove)


def _may_remove(runs: int) -> bool:
    if not _YES.value:
        try:
            return input('Remove them? [y/N] ').strip().lower() in ('y', 'yes')
        except EOFError as error:
            raise UserError('nobody answers, and nothing was removed; --yes removes without asking') from error
    if not runs:
        raise UserError('nothing was removed: there is no run to compare with; name one with --workdir, or leave --yes out')
    return True


def _remove(unused: Sequence, remove):
    removed = 0
    for entry in unused:
        try:
            if remove(entry.directory):
                removed += entry.size
            else:
                _logger.warning('%s stays: a process prepares or reads it', entry.directory)
        except OSError as error:
            _logger.warning('%s stays: %s', entry.directory, error.strerror)
    print(f'Removed {_in_bytes(removed)}')


def _in_bytes(size: float) -> str:
    units = ['B', 'kB', 'MB', 'GB', 'TB']
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f'{size:.3g} {units[0]}'


if __name__ == '__main__':
    cli.run(main)
