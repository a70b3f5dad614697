"""Makes a table of the paper: trains what is missing for its rows, and sets our numbers beside the paper's.

    python -m ar_seg_jax.sweep --config configs/potsdam3.py --table models --workdir runs/tables [--seeds 3] [--jobs 1]
                               [--config.key=value ...]

Rows are differences from the config; ar_seg_jax/sweeping/tables.json lists them. Every run is a python -m ar_seg_jax.main of its
own, and tables that need the same run share it. The same command again goes on where the sweep stopped; Ctrl-C and SIGTERM let
the runs save first. ar_seg_jax/sweeping/places.py lists what is left in the directory; the table is tables/<name>.md.

Exit status: 0 when done, 75 when stopped by a signal with everything saved (run it again), 1 if a row failed (the others are
done) and for errors, 2 for wrong flags.
"""

import os
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from ar_seg_jax import cli
from ar_seg_jax.sweeping import tables

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Python file with get_config(); --config.key=value sets a key.')
_TABLE = flags.DEFINE_string('table', None, f'Name of the table: {", ".join(tables.names())}.', required=True)
_TABLES = flags.DEFINE_string('tables', str(tables.FILE), 'JSON file of tables, for tables of your own.')
_SEEDS = flags.DEFINE_integer('seeds', 3, 'Number of seeds of each row: 0, 1, ...', lower_bound=1)
_JOBS = flags.DEFINE_integer('jobs', 1, 'Runs at once; they share the devices.', lower_bound=1)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the sweep, for all tables of one config.', required=True)
flags.mark_flag_as_required('config')


def main() -> int:
    table = tables.load(_TABLE.value, Path(_TABLES.value))
    from ar_seg_jax import workdir  # heavy: --help and wrong flags answer without them
    from ar_seg_jax.sweeping import making, runner

    overrides = config_flags.get_override_values(flags.FLAGS['config'])
    if 'seed' in overrides:
        raise ValueError('--config.seed is set by the sweep, to 0, 1, ...; use --seeds for their number')
    directory = Path(_WORKDIR.value)
    file = config_flags.get_config_filename(flags.FLAGS['config'])
    sweep = runner.Sweep(directory, file, overrides, _CONFIG.value.to_dict())
    workdir.check_config(directory, sweep.config)
    with workdir.claim(directory):
        workdir.save_config(directory, sweep.config)
        complete, failed = making.make(table, sweep, range(_SEEDS.value), _JOBS.value)
    if not complete:
        return os.EX_TEMPFAIL
    return 1 if failed else 0


if __name__ == '__main__':
    cli.run(main)
