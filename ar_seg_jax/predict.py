"""Label maps for new images.

    python -m ar_seg_jax.predict --workdir runs/coco3 --input DIR_OR_FILE --output DIR [--step N] [--names FILE]

Images are brought to the scale that the run was trained at (data.rescale), label maps back to the size of the image.
For every image, of up to 89 million pixels, writes <name>_labels.png, a palette image whose pixel values are class ids,
and <name>_overlay.png; for an image that says where on the earth it lies (GeoTIFF) also <name>_labels.tif, which says the same;
and once classes.json with the names and colours of the ids. Pixels without data (nodata, transparent) are 255. Classes are those
of the run's evaluation of this step, or those of a file of names: --names, or names.json of the run (docs/report.md). Without
either, clusters have numbers. A file that cannot be read is reported and left out, and the exit status is then 1; so is one whose
output would lie outside of --output or replace an input. Output of an earlier call is replaced.

Larger TIFF files, and virtual mosaics (.vrt) of any size, go through in windows: of them there are <name>_labels.tif, and
<name>_overlay.png of at most 2048 pixels a side. If this is interrupted, the same command goes on where it was. --polygons=FILE
also writes the areas of all label maps as polygons (docs/maps_of_mosaics.md). Both need the packages of the extra `geo`.

Where a method finds objects, ids are their numbers, 0 the background, and images of any size are brought to the one that it
takes. There also is <name>_objects.png for every image, which shows its background, its reconstruction, boxes, and the glimpse
of each object; and once instances.json with masks, boxes and areas, in the format of COCO (uncompressed run lengths).
"""

import contextlib
import dataclasses
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
_POLYGONS = flags.DEFINE_string('polygons', None, 'A GeoPackage file (.gpkg) for the areas of all label maps as polygons.')
_MIN_AREA = flags.DEFINE_integer(
    'min_area', 64, 'Pixels of a polygon; smaller areas are given to their largest neighbour.', lower_bound=1
)
_NAMES = flags.DEFINE_string('names', None, 'File with names of the clusters; names.json of the run if there is one.')

_AHEAD = 3  # images that are in memory: one is read, one is segmented, one is painted


class Made(NamedTuple):
    """What is made of an image: words about it, files by the ends of their names, its size, and its objects as COCO has them."""

    words: str
    files: dict[str, bytes]
    size: tuple[int, int]
    objects: list[dict[str, Any]]


@dataclasses.dataclass
class Written:
    """What has been made.

    taken: the files that are not to be replaced, by identity, and whose they are: inputs, and what was made of them. found: size
    and objects of the images, by their names below `root`. layers: for polygons, if these are wanted. reading: who holds it reads
    files or writes lines, since reading silences the warnings of all threads, and libtiff complains in pieces that would tear the
    lines of others.
    """

    root: Path
    directory: Path
    taken: dict[tuple[int, int], Path]
    layers: Any
    found: dict[str, tuple[tuple[int, int], list[dict[str, Any]]]] = dataclasses.field(default_factory=dict)
    reading: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def tell(self, level: int, text: str):
        from ar_seg_jax.errors import printable

        with self.reading:
            _logger.log(level, '%s', printable(text))

    def add(self, path: Path, made: Made, targets: dict[str, Path]):
        """An image whose files are written."""
        name, words = path.relative_to(self.root).as_posix(), made.words
        self.taken |= {_identity(target.stat()): path for target in targets.values()}
        if self.layers:
            with self.reading:
                count = self.layers.add(name, targets.get('labels.tif') or targets['labels.png'])
            words += f'; {count} polygons'
        self.tell(logging.INFO, f'{path}: {words}')
        self.found[name] = made.size, made.objects


def main() -> int:
    from ar_seg_jax import files
    from ar_seg_jax.data import raster
    from ar_seg_jax.prediction import coco, network, polygons

    source, output, areas = Path(_INPUT.value), Path(_OUTPUT.value), _POLYGONS.value and Path(_POLYGONS.value)
    inputs = _inputs(source, output)
    if areas:
        polygons.check(areas)
    trained = network.load(Path(_WORKDIR.value), _STEP.value, _NAMES.value)
    trained.require_clusters()
    output.mkdir(parents=True, exist_ok=True)
    files.write_json(output / 'classes.json', {'classes': [entry._asdict() for entry in trained.classes]})

    taken = {_identity(path.stat()): path for path in inputs.values() if path.exists()}
    large = {name: path for name, path in inputs.items() if raster.needs_parts(path)}
    layers = polygons.opened(areas, trained.classes, _MIN_AREA.value) if areas else contextlib.nullcontext()
    with layers as layers:
        made = Written(source if source.is_dir() else source.parent, output, taken, layers)
        _whole({name: path for name, path in inputs.items() if name not in large}, trained, made)
        _in_parts(large, trained, made)
    if trained.finds_objects:
        content = coco.document(made.found, f'found by {trained.method.title} after step {int(trained.state.step)}')
        files.write(output / 'instances.json', json.dumps(content).encode())
    failed = len(inputs) - len(made.found)
    _logger.info('%d label maps in %s, %d files could not be read', len(made.found), output, failed)
    return 1 if failed else 0


def _whole(inputs: dict[str, Path], trained, written: Written):
    """Images that fit into memory, by the names of their written."""
    from ar_seg_jax import files
    from ar_seg_jax.data.limits import DataError
    from ar_seg_jax.prediction import lookahead

    for (name, path), result in lookahead.in_order(lambda item: _made(item[1], trained, written.reading), inputs.items(), _AHEAD):
        try:
            made = result()
            targets = _targets(written, name, path, made.files)
        except DataError as error:
            written.tell(logging.ERROR, str(error))
            continue
        for end, target in targets.items():
            files.write(target, made.files[end])
        written.add(path, made, targets)


def _in_parts(inputs: dict[str, Path], trained, written: Written):
    """Larger rasters, one at a time."""
    from PIL import Image

    from ar_seg_jax import files
    from ar_seg_jax.data.classes import counts_in_words
    from ar_seg_jax.data.limits import DataError
    from ar_seg_jax.drawing import label_maps
    from ar_seg_jax.prediction import mosaic

    for name, path in inputs.items():
        try:
            targets = _targets(written, name, path, ('labels.tif', 'overlay.png'))
            found = mosaic.segment(trained, path, targets['labels.tif'], Path(_WORKDIR.value))
        except DataError as error:
            written.tell(logging.ERROR, str(error))
            continue
        picture = label_maps.overlay(found.seen, label_maps.paint(found.labels, trained.classes))
        files.write(targets['overlay.png'], label_maps.png(Image.fromarray(picture)))
        words = counts_in_words(found.counts[: len(trained.classes)].tolist(), int(found.counts.sum()), trained.classes)
        written.add(path, Made(words, {}, found.size, []), targets)


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
    from ar_seg_jax.data import images, limits, raster, virtual
    from ar_seg_jax.data.listing import find_images

    if not path.exists():
        raise limits.DataError(f'{path}: no such file or directory; --input is an image or a directory of images')
    if not path.is_dir():
        limits.check_file(path, raster.MAX_BYTES)
        return {path.stem: path}
    if _real(output).is_relative_to(_real(path)):
        raise limits.DataError(
            f'--output {output} lies inside --input {path}, where its label maps would become input; choose another'
        )
    whole = {file: file.relative_to(path) for file in find_images(path, (*images.SUFFIXES, virtual.SUFFIX))}
    names = {file: name.with_suffix('').as_posix() for file, name in whole.items()}
    while shared := {name for name, count in Counter(names.values()).items() if count > 1}:
        names = {file: whole[file].as_posix() if name in shared else name for file, name in names.items()}
    return {name: file for file, name in names.items()}


def _targets(written: Written, name: str, path: Path, ends: Iterable[str]) -> dict[str, Path]:
    """Where what is made of an image goes, by the ends of the names; makes the directory.

    DataError if that is outside of the output, cannot be written, or is one of the files that are taken. Files are compared by
    identity, since some file systems take different names for the same.
    """
    from ar_seg_jax.data.limits import DataError

    targets = {end: written.directory / f'{name}_{end}' for end in ends}
    parent = next(iter(targets.values())).parent
    if not _real(parent).is_relative_to(_real(written.directory)):
        raise DataError(
            f'{path}: {parent} leads out of --output {written.directory}; remove that link or choose another directory'
        )
    for target in targets.values():
        try:
            parent.mkdir(parents=True, exist_ok=True)
            status = target.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f'{path}: cannot write {target} ({error.strerror})') from error
        if target.is_dir() and not target.is_symlink():
            raise DataError(f'{path}: cannot write {target}, which is a directory; choose another --output')
        if _identity(status) in written.taken:
            other = written.taken[_identity(status)]
            raise DataError(f'{path}: {target} would replace {other}, or what was made for it; rename one of the two')
    return targets


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _real(path: Path) -> Path:
    """The path without symbolic links, also where these are in a loop, which `resolve` refuses."""
    return Path(os.path.realpath(path))


if __name__ == '__main__':
    cli.run(main)
