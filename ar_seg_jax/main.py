"""Trains on unlabelled images and reports on the result.

    python -m ar_seg_jax.main --config configs/textures.py [--workdir runs/textures] [--config.key=value ...]

The same command again goes on where the run stopped. SIGTERM and Ctrl-C let it finish the step and save; a second one ends
it at once.

Exit status: 0 when done, 75 when stopped by a signal with everything saved (run it again), 1 for errors, 2 for wrong flags.
"""

import os
import signal
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from ar_seg_jax import cli, processes

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Python file with get_config(); --config.key=value sets a key.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run; runs/<name of the config> if not given.')
_ALLOW_CPU = flags.DEFINE_bool('allow_cpu', False, 'Train on CPU although there is an NVIDIA device that JAX does not use.')
_CHANGED_DATA = flags.DEFINE_bool('changed_data', False, 'Go on although data changed since the run began.')
flags.mark_flag_as_required('config')
cli.define_process_flags()


def main() -> int:
    from ar_seg_jax import build  # heavy: --help and wrong flags answer without it
    from ar_seg_jax.runs import workdir

    config = _CONFIG.value.to_dict()
    workdir.check_types(config)
    # What is wrong in the method, model and optimiser is told before the rest is imported; see `runs.checks` for the others.
    build.transformation(config, build.method(config), steps=1)
    from ar_seg_jax.runs import run as runs
    from ar_seg_jax.training import devices

    if not _ALLOW_CPU.value:
        devices.require_accelerator()
    name = Path(config_flags.get_config_filename(flags.FLAGS['config'])).stem
    run = runs.open_run(config, Path(_WORKDIR.value or Path('runs') / name), training=True, changed_data=_CHANGED_DATA.value)
    with run.outputs:
        state, done = runs.train(run)
        scored = done and runs.report(run, state.model, afterwards=lambda: _leave_page(run, state.model))
        if scored:
            for number in processes.stop_signals():  # all is written: there is nothing left to stop, only a status to spoil
                signal.signal(number, signal.SIG_IGN)
    return 0 if scored else os.EX_TEMPFAIL


def _leave_page(run, state):
    from ar_seg_jax.reporting import leaving  # which needs Matplotlib, and no first step should wait for that

    leaving.leave(run, state)


if __name__ == '__main__':
    cli.run(main)
