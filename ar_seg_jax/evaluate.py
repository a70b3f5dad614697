"""Scores a checkpoint of a run with the unmasked network, and draws its pictures.

    python -m ar_seg_jax.evaluate --workdir runs/coco3 [--step N] [--data_dir DIR]

Data is read where the run prepared it. --data_dir is for a run that comes from another machine.
"""

from pathlib import Path

from absl import flags

from ar_seg_jax import cli

_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run.', required=True)
_STEP = flags.DEFINE_integer('step', None, 'Step of the checkpoint; the last one if not given.')
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Directory of prepared data, where it is prepared if it is not there yet.')
cli.define_process_flags()


def main():
    from ar_seg_jax import results, workdir
    from ar_seg_jax import run as runs

    directory = Path(_WORKDIR.value)
    with workdir.explained(directory):
        run = runs.open_run(workdir.load_config(directory), directory, training=False, data_dir=_DATA_DIR.value)
        state = runs.initial_state(run)
    results.report(run, run.checkpoints.restore(state, _STEP.value))


if __name__ == '__main__':
    cli.run(main)
