"""Makes a table of the paper: trains what is missing for its rows, and sets our numbers beside the paper's.

    python -m ar_seg_jax.sweep --config configs/potsdam3.py --table models --workdir runs/tables [--seeds 3] [--jobs 1]
                               [--pictures] [--select] [--config.key=value ...]

Rows are differences from the config, or take another one beside it; ar_seg_jax/sweeping/tables.json lists them. Every run is a
python -m ar_seg_jax.main of its own, and tables that need the same run share it. The same command again goes on where the sweep
stopped; Ctrl-C and SIGTERM let the runs save first. ar_seg_jax/sweeping/state.py lists what is left in the directory; the table
is tables/<name>.md. With --pictures the best, median and worst images of its rows are in tables/<name>_pictures.png; with
--select tables/<name>_select.md ranks its runs by what can be said without labels (ar_seg_jax/select.py).

Exit status: 0 when done, 75 when stopped by a signal with everything saved (run it again), 1 if a row failed (the others are
done) and for errors, 2 for wrong flags.
"""

import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from ar_seg_jax import cli, processes
from ar_seg_jax.errors import UserError
from ar_seg_jax.sweeping import tables

_logger = logging.getLogger('ar_seg_jax.sweep')  # the module itself runs as __main__

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Python file with get_config(); --config.key=value sets a key.')
_TABLE = flags.DEFINE_string('table', None, f'Name of the table: {", ".join(tables.names())}.', required=True)
_TABLES = flags.DEFINE_string('tables', str(tables.FILE), 'JSON file of tables, for tables of your own.')
_SEEDS = flags.DEFINE_integer('seeds', 3, 'Number of seeds of each row: 0, 1, ...', lower_bound=1)
_JOBS = flags.DEFINE_integer('jobs', 1, 'Runs at once; they share the devices.', lower_bound=1)
_PICTURES = flags.DEFINE_bool('pictures', False, 'Draw what the rows see, those of seed 0.')
_SELECT = flags.DEFINE_bool('select', False, 'Rank the trained runs without labels.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the sweep, for all tables of one config.', required=True)
flags.mark_flag_as_required('config')


def main() -> int:
    table = tables.load(_TABLE.value, Path(_TABLES.value))
    from ar_seg_jax.runs import workdir  # heavy: --help and wrong flags answer without it
    from ar_seg_jax.sweeping import plan

    overrides = config_flags.get_override_values(flags.FLAGS['config'])
    if 'seed' in overrides:
        raise UserError('--config.seed is set by the sweep, to 0, 1, ...; use --seeds for their number')
    base = plan.Base(config_flags.get_config_filename(flags.FLAGS['config']), _CONFIG.value.to_dict())
    sweep = plan.Sweep(Path(_WORKDIR.value), base, overrides, functools.partial(_load, overrides))
    workdir.check_types(base.config)
    workdir.check_config(sweep.directory, base.config)
    with workdir.claim(sweep.directory):
        workdir.save_config(sweep.directory, base.config)
        complete, failed = _make(sweep.available(table), sweep)
    if not complete:
        return os.EX_TEMPFAIL
    return 1 if failed else 0


def _make(table, sweep) -> tuple[bool, bool]:
    """Runs what is missing and writes the table after each run; whether it is complete, and whether rows failed."""
    from ar_seg_jax.sweeping import plan, runner, state

    seeds = range(_SEEDS.value)
    trainings = plan.trainings(table, sweep, seeds)
    _logger.info('%s: %d runs below %s', table.name, len(trainings), sweep.directory / 'runs')
    outcomes, complete = runner.run_all(sweep, trainings, _JOBS.value, lambda found: _write(table, sweep, seeds, found))
    text, failed = _write(table, sweep, seeds, outcomes)
    print(text)
    print(f'Table: {state.table(sweep.directory, table.name, "md")}')
    if complete and _PICTURES.value:
        _draw(table, sweep, seeds[0], outcomes)
    if complete and _SELECT.value:
        try:
            failed |= _select(table, sweep, outcomes)
        except processes.Stopped:
            complete = False
    return complete, failed


def _write(table, sweep, seeds, outcomes) -> tuple[str, bool]:
    """Writes the three files; the Markdown, and whether rows failed."""
    from ar_seg_jax import files
    from ar_seg_jax.sweeping import collect, drawing, state, summary

    lines = collect.lines(table, sweep, seeds, outcomes)
    text = summary.markdown(table, sweep, seeds, lines)
    picture = drawing.png(table, lines, tables.column(sweep.base.config))
    contents = {'md': text.encode(), 'csv': summary.as_csv(table, sweep, lines).encode(), 'png': picture}
    for suffix, content in contents.items():
        files.write(state.table(sweep.directory, table.name, suffix), content)
    return text, any(line.failures for line in lines)


def _draw(table, sweep, seed, outcomes):
    from ar_seg_jax import files
    from ar_seg_jax.sweeping import pictures, state

    if content := pictures.side_by_side(table, sweep, seed, outcomes):
        path = state.table(sweep.directory, f'{table.name}_pictures', 'png')
        files.write(path, content)
        print(f'Pictures: {path}')
    else:
        _logger.warning('No row of %s was trained and predicts classes, so there are no pictures', table.name)


def _select(table, sweep, outcomes) -> bool:
    """Ranks what was trained, in a process of its own, since this one leaves the devices to the runs; whether that failed.

    Raises Stopped if a signal asked for the end.
    """
    from ar_seg_jax.sweeping import state

    trained = [str(state.directory_of(sweep.directory, key)) for key, outcome in outcomes.items() if not outcome.trained]
    if len(trained) < 2:
        _logger.warning('%s has fewer than two trained runs, so there is nothing to rank', table.name)
        return False
    path = state.table(sweep.directory, f'{table.name}_select', 'md')
    arguments = [f'--output={path}', *(f'--workdir={directory}' for directory in sorted(trained))]
    with processes.Children() as children:
        return bool(children.ended(children.begin([sys.executable, '-m', 'ar_seg_jax.select', *arguments])))


def _load(overrides: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The config of another file, changed as that of --config was; UserError for what it has not."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.lock()  # so that a key that it has not is an error
    try:
        config.update_from_flattened_dict(overrides)
    except (KeyError, TypeError) as error:
        raise UserError(f'{file}, which a row of the table takes, does not fit the overrides of --config: {error}') from error
    return config.to_dict()


if __name__ == '__main__':
    cli.run(main)
