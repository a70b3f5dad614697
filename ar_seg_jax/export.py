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
from pathlib import Path

from absl import flags

from ar_seg_jax import cli

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
    from ar_seg_jax.exporting import program, weights
    from ar_seg_jax.prediction import network as networks
    from ar_seg_jax.runs import workdir

    directory = files.expanded(_WORKDIR.value)
    network = networks.load(directory, _STEP.value, _NAMES.value)
    found = {'format': _FORMAT.value, **program.description(network)}
    if _FORMAT.value == 'safetensors':
        content = weights.exported(network)
    elif _FORMAT.value == 'onnx':
        content = _onnx(network, found)
    else:
        content = _stablehlo(network, found)
    path = files.expanded(_OUTPUT.value) if _OUTPUT.value else directory / 'export' / f'model.{_FORMAT.value}'
    files.write(path, content)
    files.write_json(Path(f'{path}.json'), {**found, 'config': workdir.load_config(directory)})
    _logger.info('%s (%.1f MB), and %s.json', path, len(content) / 1e6, path.name)


def _stablehlo(network, found) -> bytes:
    from ar_seg_jax.exporting import stablehlo

    content, sizes = stablehlo.serialized(network, _TILE_SIZE.value)
    found['input']['sizes'] = sizes.words
    found['platforms'] = stablehlo.PLATFORMS
    _logger.info('Sizes of images: %s', sizes.words)
    return content


def _onnx(network, found) -> bytes:
    from ar_seg_jax.exporting import deepness

    side = _TILE_SIZE.value or deepness.SIDE
    content, names = deepness.exported(network, side, _RESOLUTION.value)
    found['input'] |= {'type': 'float32: 8 bits divided by 255', 'layout': 'batch, bands, height, width'}
    found['input']['sizes'] = f'{side} x {side} pixels, one at a time'
    found['output'] = {'scores': 'float32: batch, channels, height, width'}
    found['channels'] = names
    return content


if __name__ == '__main__':
    cli.run(main)
