"""Label maps for new images.

    python -m ar_seg_jax.predict --workdir runs/coco3 --input DIR_OR_FILE --output DIR [--step N]

Images are brought to the scale that the run was trained at (data.rescale), label maps back to the size of the image.
For every image, of any size, writes <name>_labels.png, a palette image whose pixel values are class ids, and
<name>_overlay.png; and once classes.json with the names and colours of the ids. Classes are those of the run's
evaluation of this step; without one, clusters have numbers. A file that cannot be read is reported and left out, and the
exit status is then 1.
"""

import logging
from pathlib import Path

from absl import flags

from ar_seg_jax import cli

_logger = logging.getLogger('ar_seg_jax.predict')  # the module itself runs as __main__

_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run.', required=True)
_INPUT = flags.DEFINE_string('input', None, 'An image, or a directory of images.', required=True)
_OUTPUT = flags.DEFINE_string('output', None, 'Directory for the label maps.', required=True)
_STEP = flags.DEFINE_integer('step', None, 'Step of the checkpoint; the last one if not given.')


def main() -> int:
    import jax
    import numpy as np
    from PIL import Image

    from ar_seg_jax import build, tiling, workdir
    from ar_seg_jax.classes import numbered
    from ar_seg_jax.data import images
    from ar_seg_jax.evaluation import pictures
    from ar_seg_jax.training import loop, sharding
    from ar_seg_jax.training.checkpoint import Checkpoints

    directory, output = Path(_WORKDIR.value), Path(_OUTPUT.value)
    files = _inputs(Path(_INPUT.value), output)
    config = workdir.load_config(directory)
    channels, rescale = workdir.load_input(directory)
    method = build.method(config)
    crop = config['pipeline']['crop_size']
    like = loop.initial_state(method, build.optimizer(config), 0, (1, crop, crop, channels), sharding.make_mesh())
    state = Checkpoints(workdir.checkpoints(directory)).restore(like, _STEP.value)

    segment = jax.jit(lambda image: method.predict(state.params, state.extra, image)['scores'].argmax(-1).astype('uint8'))
    found = workdir.load_cluster_classes(directory, int(state.step))
    mapping, classes = found or (range(method.model.num_clusters), numbered('cluster', method.model.num_clusters))
    if found is None:
        _logger.info('Step %d was not evaluated with labels: clusters have numbers instead of names', state.step)
    output.mkdir(parents=True, exist_ok=True)
    workdir.write_json(output / 'classes.json', {'classes': [entry._asdict() for entry in classes]})

    failed = 0
    for name, path in files.items():
        try:
            image = images.read_image(path, channels)
        except images.DataError as error:
            _logger.error('%s', error)
            failed += 1
            continue
        clusters = tiling.segment(lambda tile: np.asarray(segment(tile[None]))[0], images.rescale(image, rescale))
        if clusters.shape != image.shape[:2]:
            clusters = np.array(Image.fromarray(clusters).resize(image.shape[1::-1], Image.Resampling.NEAREST))
        labels = pictures.classes_of(clusters, np.array(mapping))
        target = output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        pictures.palette_image(labels, classes).save(target.with_name(f'{target.name}_labels.png'))
        painted = pictures.paint(labels, classes)
        Image.fromarray(pictures.overlay(image, painted)).save(target.with_name(f'{target.name}_overlay.png'))
        _logger.info('%s: %s', path, _shares(labels, classes))
    _logger.info('%d label maps in %s, %d files could not be read', len(files) - failed, output, failed)
    return 1 if failed else 0


def _inputs(path: Path, output: Path) -> dict[str, Path]:
    """Image files by the name of their output: the path below the input, with its ending only where that tells two apart."""
    from ar_seg_jax.data.folder import find_images
    from ar_seg_jax.data.images import DataError

    if path.is_file():
        return {path.stem: path}
    if not path.is_dir():
        raise DataError(f'{path}: no such file or directory; --input is an image or a directory of images')
    if output.resolve().is_relative_to(path.resolve()):
        raise DataError(f'--output {output} lies inside --input {path}, where its label maps would become input; choose another')
    found = find_images(path)
    stems = [file.relative_to(path).with_suffix('').as_posix() for file in found]
    return {
        stem if stems.count(stem) == 1 else file.relative_to(path).as_posix(): file
        for stem, file in zip(stems, found, strict=True)
    }


def _shares(labels, classes) -> str:
    """Share of the pixels of each class, the largest first."""
    shares = sorted(((float((labels == index).mean()), name) for index, (name, _) in enumerate(classes)), reverse=True)
    return ', '.join(f'{name} {share:.0%}' for share, name in shares if share)


if __name__ == '__main__':
    cli.run(main)
