"""Brings the clusters of a run to fewer, without labels and without training, as a file of names.

    python -m ar_seg_jax.merge --workdir runs/mine --clusters 3 [--step N] [--output FILE] [--images 40] [--distance 8]
                               [--data_dir DIR]

Clusters that are outlines join their neighbour; then those become one whose difference says least about the cluster some pixels
further (ar_seg_jax/choosing/merging.py), on images of the training split. The file is names.json in the directory of the run, or
--output: `predict`, exports and the page of the run then have the merged clusters, see docs/report.md. `evaluate` goes on with
all clusters, since it scores names that labels have; `score --matching one-to-one` takes what `predict` wrote. A file that is
there is not replaced.
"""

from pathlib import Path

from absl import flags

from ar_seg_jax import cli
from ar_seg_jax.errors import UserError

_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run.', required=True)
_CLUSTERS = flags.DEFINE_integer('clusters', None, 'Clusters that are to be left.', required=True, lower_bound=2)
_STEP = flags.DEFINE_integer('step', None, 'Step of the checkpoint; the last one if not given.')
_OUTPUT = flags.DEFINE_string('output', None, 'File to write, in place of names.json of the run.')
_IMAGES = flags.DEFINE_integer('images', 40, 'Images that are looked at.', lower_bound=1)
_DISTANCE = flags.DEFINE_integer('distance', 8, 'Pixels between two places that should tell of each other.', lower_bound=1)
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Directory of prepared data, where it is prepared if it is not there yet.')


def main():
    from ar_seg_jax import files
    from ar_seg_jax.choosing import runs
    from ar_seg_jax.runs import workdir

    directory = Path(_WORKDIR.value)
    path = Path(_OUTPUT.value) if _OUTPUT.value else workdir.names(directory)
    if path.exists():
        raise UserError(f'{path} is there already; remove it, or give another file: --output=FILE')
    step, found = runs.merged(directory, _STEP.value, _CLUSTERS.value, _DISTANCE.value, _IMAGES.value, _DATA_DIR.value)
    content = {'step': step, 'names': {str(number): f'group {group}' for number, group in enumerate(found)}}
    files.write_json(path, content)
    for group in range(_CLUSTERS.value):
        print(f'group {group}: clusters {", ".join(str(number) for number, own in enumerate(found) if own == group)}')
    print(f'Names: {path}')


if __name__ == '__main__':
    cli.run(main)
