"""A page about runs: how they were trained, their clusters, images and scores, in one file of HTML.

    python -m ar_seg_jax.report --workdir runs/mine [--step N] [--output FILE] [--data_dir DIR]
    python -m ar_seg_jax.report --workdir runs/a --workdir runs/b --output FILE

Writes report.html to the directory of the run, or to --output, which several runs side by side need. The file needs nothing else:
no network, no other file. Data is read where the run prepared it; --data_dir is for a run that comes from another machine. Where
data or checkpoints are not there, the page shows what the files of the run tell.
"""

from pathlib import Path

from absl import flags

from ar_seg_jax import cli
from ar_seg_jax.errors import UserError

_WORKDIR = flags.DEFINE_multi_string('workdir', None, 'Directory of the run.', required=True)
_STEP = flags.DEFINE_integer('step', None, 'Step of the checkpoint; the last one if not given.')
_OUTPUT = flags.DEFINE_string('output', None, 'File to write; report.html in the directory of the run if not given.')
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Directory of prepared data, where it is prepared if it is not there yet.')


def main():
    from ar_seg_jax import files
    from ar_seg_jax.reporting import gathering, page
    from ar_seg_jax.runs import workdir

    if len(_WORKDIR.value) > 1 and not _OUTPUT.value:
        raise UserError('a report of several runs goes to no run; give --output=FILE')
    accounts = []
    for directory in map(Path, _WORKDIR.value):
        asked_for = [image.identifier for image in accounts[0].images] if accounts else []
        accounts.append(gathering.of_directory(directory, _STEP.value, _DATA_DIR.value, asked_for))
    path = Path(_OUTPUT.value) if _OUTPUT.value else workdir.report(Path(_WORKDIR.value[0]))
    files.write(path, page.of_runs(accounts))
    print(f'Report: {path}')


if __name__ == '__main__':
    cli.run(main)
