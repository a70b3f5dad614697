"""A trained network as a file that other programs use.

    python -m ar_seg_jax.export --workdir runs/mine --format stablehlo [--output FILE] [--step N] [--names FILE] [--tile_size N]
    python -m ar_seg_jax.export --workdir runs/mine --format onnx [--resolution CM] ...
    python -m ar_seg_jax.export --workdir runs/mine --format safetensors ...

stablehlo: from images to scores and labels, for CPU, CUDA and TPU, which `jax.export` runs without this package. onnx: for ONNX
Runtime, and the QGIS plugin Deepness. safetensors: the weights, which a training can begin with. Beside the file FILE goes
FILE.json, which says what it takes and gives, with names and colours of classes, and the config of the run. FILE is
export/model.<format> in the directory of the run, if not given; what is there is replaced. docs/export.md has more.

Classes are those of the run's evaluation of this step, or those of a file of names: --names, or names.json of the run
(docs/report.md).
"""

import logging
from typing import Any

from absl import flags

from ar_seg_jax import cli
from ar_seg_jax.errors import UserError

_logger = logging.getLogger('ar_seg_jax.export')  # the module itself runs as __main__

_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run.', required=True)
_FORMAT = flags.DEFINE_enum('format', None, ['stablehlo', 'onnx', 'safetensors'], 'What is written.', required=True)
_OUTPUT = flags.DEFINE_string('output', None, 'File to write; export/model.<format> in the directory of the run if not given.')
_STEP = flags.DEFINE_integer('step', None, 'Step of the checkpoint; the last one if not given.')
_NAMES = flags.DEFINE_string('names', None, 'File with names of the clusters; names.json of the run if there is one.')
_TILE_SIZE = flags.DEFINE_integer(
    'tile_size', None, 'Pixels of a side of the images; of stablehlo any size, of onnx 512 if not given.', lower_bound=1
)
_RESOLUTION = flags.DEFINE_float('resolution', None, 'Centimetres per pixel, for Deepness.', lower_bound=0)


def main():
    from ar_seg_jax import files
    from ar_seg_jax.exporting import program
    from ar_seg_jax.prediction import network as networks
    from ar_seg_jax.runs import workdir

    _refuse_idle_flags()
    directory = files.expanded(_WORKDIR.value)
    network = networks.load(directory, _STEP.value, _NAMES.value)
    content, details = _FORMATS[_FORMAT.value](network)
    path = files.expanded(_OUTPUT.value) if _OUTPUT.value else directory / 'export' / f'model.{_FORMAT.value}'
    told = {'format': _FORMAT.value, **details, **program.description(network), 'config': workdir.load_config(directory)}
    files.write(path, content)
    files.write_json(path.with_name(f'{path.name}.json'), told)
    _logger.info('%s (%.1f MB), and %s.json', path, len(content) / 1e6, path.name)


def _refuse_idle_flags():
    """UserError for what another format would need."""
    idle = {'stablehlo': {'--resolution': _RESOLUTION.value}, 'onnx': {},
            'safetensors': {'--resolution': _RESOLUTION.value, '--tile_size': _TILE_SIZE.value}}  # fmt: skip
    for name, value in idle[_FORMAT.value].items():
        if value is not None:
            raise UserError(f'{name}={value} says nothing about --format={_FORMAT.value}; leave it out')


def _stablehlo(network) -> tuple[bytes, dict[str, Any]]:
    from ar_seg_jax.exporting import stablehlo

    content, sizes = stablehlo.serialized(network, _TILE_SIZE.value)
    return content, {
        'input': 'uint8: batch, height, width, bands',
        'sizes': sizes.words,
        'output': {'scores': 'float32: batch, height, width, clusters', 'labels': 'uint8: batch, height, width'},
        'platforms': stablehlo.PLATFORMS,
    }


def _onnx(network) -> tuple[bytes, dict[str, Any]]:
    from ar_seg_jax.exporting import deepness

    side = _TILE_SIZE.value or deepness.SIDE
    content, names = deepness.exported(network, side, _RESOLUTION.value)
    return content, {
        'input': {'image': 'float32: 1, bands, height, width; 8 bits divided by 255'},
        'sizes': f'{side} x {side} pixels',
        'output': {'scores': 'float32: 1, channels, height, width'},
        'channels': names,
    }


def _safetensors(network) -> tuple[bytes, dict[str, Any]]:
    from ar_seg_jax.exporting import weights

    return weights.exported(network), {}


_FORMATS = {'stablehlo': _stablehlo, 'onnx': _onnx, 'safetensors': _safetensors}


if __name__ == '__main__':
    cli.run(main)
