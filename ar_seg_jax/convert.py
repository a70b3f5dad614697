"""Weights that torch.save wrote as a .safetensors file, which trainings can begin with.

    python -m ar_seg_jax.convert IN.pth OUT.safetensors

Reads a state dictionary, or dictionaries of them, whose keys are joined by points; config.initial_weights.of takes a part. A .pth
file is a program in disguise: nothing of it is run here, and one that holds more than tensors, numbers and texts is refused. What
are no tensors is left out, and told. An OUT.safetensors of before is replaced.
"""

import logging
from pathlib import Path

from ar_seg_jax import cli

_logger = logging.getLogger('ar_seg_jax.convert')  # the module itself runs as __main__

_TOLD = 5  # names of what is left out


def main(source: str, target: str):
    from safetensors.numpy import save

    from ar_seg_jax import files, torch_files
    from ar_seg_jax.errors import UserError, printable

    if Path(target).suffix != '.safetensors':
        raise UserError(f'{target}: the file that is written ends in .safetensors')
    content = torch_files.read(files.expanded(source))
    files.write(files.expanded(target), save(content.arrays))
    if content.others:
        more = f' and {len(content.others) - _TOLD} more' if len(content.others) > _TOLD else ''
        _logger.info('Left out, since these are no tensors: %s%s', printable(', '.join(content.others[:_TOLD])), more)
    _logger.info('%d tensors in %s', len(content.arrays), target)


if __name__ == '__main__':
    cli.run(main, arguments=('IN.pth', 'OUT.safetensors'))
