"""Scores a checkpoint of a run with the unmasked network, and draws its pictures.

    python -m ar_seg_jax.evaluate --workdir runs/coco3 [--step N] [--split test] [--probes linear,non-linear:logits]
      [--data_dir DIR] [--names FILE]

Step 0 is the network before training. What is found of another --split than that of the run has its name in those of files, such
as evaluations/006150-test.json. --probes is used in place of config.evaluators.probes.names. Data is read where the run prepared
it; --data_dir is for a run that comes from another machine. Where a person named the clusters, in --names or in names.json
of the run (docs/report.md), these names are scored too, and pictured.
"""

from pathlib import Path

from absl import flags

from ar_seg_jax import cli
from ar_seg_jax.errors import UserError

_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run.', required=True)
_STEP = flags.DEFINE_integer('step', None, 'Step of the checkpoint, or 0; the last checkpoint if not given.')
_SPLIT = flags.DEFINE_string('split', None, 'Split that is scored and pictured; config.evaluation.split if not given.')
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Directory of prepared data, where it is prepared if it is not there yet.')
_PROBES = flags.DEFINE_list('probes', None, 'Probes to train on the frozen network, such as linear:logits; empty for none.')
_NAMES = flags.DEFINE_string('names', None, 'File with names of the clusters; names.json of the run if there is one.')
cli.define_process_flags()


def main():
    from ar_seg_jax import files
    from ar_seg_jax.runs import run as runs
    from ar_seg_jax.runs import workdir

    directory = Path(_WORKDIR.value)
    config = workdir.load_config(directory)
    if _PROBES.value is not None:
        if 'probes' not in config['evaluators']:
            raise UserError(f'--probes: the config of {directory} has no evaluators.probes, which says how they are trained')
        config['evaluators']['probes']['names'] = _PROBES.value
    names = files.expanded(_NAMES.value) if _NAMES.value else None
    run = runs.open_run(config, directory, training=False, data_dir=_DATA_DIR.value, split=_SPLIT.value, names=names)
    with run.outputs:
        run.reporter.report(runs.evaluated(run, _STEP.value))


if __name__ == '__main__':
    cli.run(main)
