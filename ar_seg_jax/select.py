"""Ranks runs by what can be said of their clusters without labels.

    python -m ar_seg_jax.select --workdir runs/a --workdir runs/b [--images 40] [--output FILE.md] [--data_dir DIR]

All runs look at the same images of the training split. Printed is a table of the runs, best first by the mean of their places
under each criterion (ar_seg_jax/choosing/criteria.py says what these are); --output keeps it, and the numbers as JSON beside it.
Runs that differ in the seed only are also compared with each other. Where runs were scored with labels, the table ends with how
well each criterion would have chosen; labels have no part in the choice. No criterion is right for all kinds of images
(docs/label_maps.md), so look at what is chosen before you take it: python -m ar_seg_jax.report shows runs side by side.
"""

import os
from pathlib import Path

from absl import flags

from ar_seg_jax import cli
from ar_seg_jax.errors import UserError

_WORKDIR = flags.DEFINE_multi_string('workdir', None, 'Directory of a run; give it for each.', required=True)
_IMAGES = flags.DEFINE_integer('images', 40, 'Images that the runs look at.', lower_bound=1)
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Directory of prepared data, where it is prepared if it is not there yet.')
_OUTPUT = flags.DEFINE_string('output', None, 'Markdown file for the table.')


def main():
    names = list(dict.fromkeys(_WORKDIR.value))
    if len(names) < 2:
        raise UserError('there is nothing to choose among: give --workdir for each of several runs')
    output = Path(_OUTPUT.value) if _OUTPUT.value else None
    if output and output.suffix != '.md':
        raise UserError(f'--output is a Markdown file, called like choice.md; found {output}')
    from ar_seg_jax import files
    from ar_seg_jax.choosing import runs

    common = os.path.commonpath([str(Path(name).absolute()) for name in names])
    directories = {os.path.relpath(Path(name).absolute(), common): Path(name) for name in names}
    found = runs.choose(directories, _IMAGES.value, _DATA_DIR.value)
    print(found.markdown())
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        files.write(output, f'{found.markdown()}\n'.encode())
        files.write_json(output.with_suffix('.json'), found.content())
        print(f'Choice: {output}')


if __name__ == '__main__':
    cli.run(main)
