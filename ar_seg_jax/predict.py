"""Label maps for new images.

    python -m ar_seg_jax.predict --workdir runs/coco3 --input DIR_OR_FILE --output DIR [--step N] [--names FILE]

Images are brought to the scale that the run was trained at (data.rescale), label maps back to the size of the image.
For every image, of up to 89 million pixels, writes <name>_labels.png, a palette image whose pixel values are class ids,
and <name>_overlay.png; for an image that says where on the earth it lies (GeoTIFF) also <name>_labels.tif, which says the same;
and once classes.json with the names and colours of the ids. Pixels without data (nodata, transparent) are 255. Classes are those
of the run's evaluation of this step, or those of a file of names: --names, or names.json of the run (docs/report.md). Without
either, clusters have numbers. A file that cannot be read is reported and left out, and the exit status is then 1; so is one whose
output would lie outside of --output or replace an input. Output of an earlier call is replaced.

Where a method finds objects, ids are their numbers, 0 the background, and images of any size are brought to the one that it
takes. There also is <name>_objects.png for every image, which shows its background, its reconstruction, boxes, and the glimpse
of each object; and once instances.json with masks, boxes and areas, in the format of COCO (uncompressed run lengths).
"""

import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from ar_seg_jax import cli

_logger = logging.getLogger('ar_seg_jax.predict')  # the module itself runs as __main__

_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run.', required=True)
_INPUT = flags.DEFINE_string('input', None, 'An image, or a directory of images.', required=True)
_OUTPUT = flags.DEFINE_string('output', None, 'Directory for the label maps.', required=True)
_STEP = flags.DEFINE_integer('step', None, 'Step of the checkpoint; the last one if not given.')
_NAMES = flags.DEFINE_string('names', None, 'File with names of the clusters; names.json of the run if there is one.')

_AHEAD = 3  # images that are in memory: one is read, one is segmented, one is painted


class Made(NamedTuple):
    """What is made of an image: words about it, files by the ends of their names, its size, and its objects as COCO has them."""

    words: str
    files: dict[str, bytes]
    size: tuple[int, int]
    objects: list[dict[str, Any]]


def main() -> int:
    from ar_seg_jax import files
    from ar_seg_jax.data.limits import DataError
    from ar_seg_jax.errors import printable
    from ar_seg_jax.prediction import coco, lookahead, network

    source, output = Path(_INPUT.value), Path(_OUTPUT.value)
    inputs = _inputs(source, output)
    root = source if source.is_dir() else source.parent
    trained = network.load(Path(_WORKDIR.value), _STEP.value, _NAMES.value)
    trained.require_clusters()
    output.mkdir(parents=True, exist_ok=True)
    files.write_json(output / 'classes.json', {'classes': [entry._asdict() for entry in trained.classes]})

    taken = {_identity(path.stat()): path for path in inputs.values() if path.exists()}
    # Reading silences the warnings of all threads, and libtiff complains in pieces that would tear the lines of others.
    reading = threading.Lock()

    def tell(level: int, text: str):
        with reading:
            _logger.log(level, '%s', printable(text))

    found = {}
    for (name, path), result in lookahead.in_order(lambda item: _made(item[1], trained, reading), inputs.items(), _AHEAD):
        try:
            made = result()
            targets = _targets(output, name, path, made.files, taken)
        except DataError as error:
            tell(logging.ERROR, str(error))
            continue
        for target, content in zip(targets, made.files.values(), strict=True):
            files.write(target, content)
            taken[_identity(target.stat())] = path
        tell(logging.INFO, f'{path}: {made.words}')
        found[path.relative_to(root).as_posix()] = made.size, made.objects
    if trained.finds_objects:
        content = coco.document(found, f'found by {trained.method.title} after step {int(trained.state.step)}')
        files.write(output / 'instances.json', json.dumps(content).encode())
    failed = len(inputs) - len(found)
    _logger.info('%d label maps in %s, %d files could not be read', len(found), output, failed)
    return 1 if failed else 0


def _made(path: Path, trained, reading: threading.Lock) -> Made:
    """Label map and overlay of an image, and what shows its objects; DataError for a file that cannot be used."""
    import numpy as np
    from PIL import Image

    from ar_seg_jax.data import coverage, georeference
    from ar_seg_jax.data.classes import in_words
    from ar_seg_jax.drawing import label_maps, object_pictures
    from ar_seg_jax.interfaces import VOID
    from ar_seg_jax.prediction import coco

    with reading:
        image, place = trained.form.read(path), georeference.read(path)
        covered = coverage.covered(path, image)
    seen = trained.form.to_8_bits(image)
    found = trained.objects(image) if trained.finds_objects else None
    labels = found.labels if found else trained.segment(image)
    if covered is not None:
        labels = np.where(covered, labels, VOID).astype(np.uint8)
    pictures = {
        'labels': label_maps.palette_image(labels, trained.classes),
        'overlay': Image.fromarray(label_maps.overlay(seen, label_maps.paint(labels, trained.classes))),
    }
    annotations = []
    if found:
        annotations = coco.annotations(labels)
        boxes = {entry['number']: entry['bbox'] for entry in annotations}
        views = {'background': found.background, 'reconstruction': found.reconstruction}
        pictures['objects'] = object_pictures.picture(seen, labels, boxes, views, found.glimpses, trained.classes, path.name)
    contents = {f'{kind}.png': label_maps.png(picture) for kind, picture in pictures.items()}
    if place:
        contents['labels.tif'] = georeference.encode(labels, trained.classes, place)
    return Made(in_words(labels, trained.classes), contents, labels.shape, annotations)


def _inputs(path: Path, output: Path) -> dict[str, Path]:
    """Image files by the name of their output: the path below the input, with its ending only where that tells two apart."""
    from ar_seg_jax.data import limits
    from ar_seg_jax.data.folder import find_images

    if not path.exists():
        raise limits.DataError(f'{path}: no such file or directory; --input is an image or a directory of images')
    if not path.is_dir():
        limits.check_file(path)
        return {path.stem: path}
    if _real(output).is_relative_to(_real(path)):
        raise limits.DataError(
            f'--output {output} lies inside --input {path}, where its label maps would become input; choose another'
        )
    whole = {file: file.relative_to(path) for file in find_images(path)}
    names = {file: name.with_suffix('').as_posix() for file, name in whole.items()}
    while shared := {name for name, count in Counter(names.values()).items() if count > 1}:
        names = {file: whole[file].as_posix() if name in shared else name for file, name in names.items()}
    return {name: file for file, name in names.items()}


def _targets(output: Path, name: str, path: Path, ends: Iterable[str], taken: dict[tuple[int, int], Path]) -> list[Path]:
    """Where what is made of an image goes, by the ends of the names; makes the directory.

    DataError if that is outside of the output, cannot be written, or is one of the files `taken`: an input, or the output
    for another image. Files are compared by identity, since some file systems take different names for the same.
    """
    from ar_seg_jax.data.limits import DataError

    targets = [output / f'{name}_{end}' for end in ends]
    parent = targets[0].parent
    if not _real(parent).is_relative_to(_real(output)):
        raise DataError(f'{path}: {parent} leads out of --output {output}; remove that link or choose another directory')
    for target in targets:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            status = target.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f'{path}: cannot write {target} ({error.strerror})') from error
        if target.is_dir() and not target.is_symlink():
            raise DataError(f'{path}: cannot write {target}, which is a directory; choose another --output')
        if _identity(status) in taken:
            other = taken[_identity(status)]
            raise DataError(f'{path}: {target} would replace {other}, or what was made for it; rename one of the two')
    return targets


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _real(path: Path) -> Path:
    """The path without symbolic links, also where these are in a loop, which `resolve` refuses."""
    return Path(os.path.realpath(path))


if __name__ == '__main__':
    cli.run(main)
