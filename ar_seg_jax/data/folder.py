"""Any folder of images, with or without labels.

The simplest layout is images (jpg, png, tif, bmp, webp) anywhere below the folder. The full one is

    images/*            one image per id
    labels/<id>.png     optional label map of the same size: class ids, or class colours if classes.json gives them
    splits.csv          optional, see `split_table`; without it all images are the split 'train'
    classes.json        optional: {"ignore": 255, "classes": [{"id": 0, "name": "road", "color_rgb": [128, 64, 128]}, ...],
                        "coarse": {"names": ["flat", ...], "map": {"0": 0, "1": 255, ...}}}

A table of files that lie elsewhere, images.csv (`manifest`), stands in for images/, labels/ and splits.csv.

Images without a label map count as not annotated. Pixels without data (`coverage`) are no part of the task.
"""

import contextlib
import dataclasses
import logging
import math
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ar_seg_jax.data import annotation, bands, blocks, coverage, images, listing, manifest, prepared, split_table, tiff
from ar_seg_jax.data.builder import (
    HAS_NODATA,
    NODATA,
    RANGES,
    SegmentationBuilder,
    SegmentationConfig,
    config_name,
    example,
    existing_directory,
    form,
)
from ar_seg_jax.data.form import Form
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID

_logger = logging.getLogger(__name__)

_SHOWN = 20  # files of a message
_LIKE_SPLITS = {'train', 'val', 'test'}  # names of directories that others take for splits


class Contents(NamedTuple):
    """What is in a folder.

    images: id and file of the images of each split. label_files: by id. labels: how these are read; None if there are none.
    """

    images: dict[str, list[tuple[str, Path]]]
    label_files: dict[str, Path]
    labels: annotation.Labels | None


@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class FolderConfig(SegmentationConfig):
    files: dict[str, list[tuple[str, Path]]]  # (id, image file) of each split
    label_files: dict[str, Path]
    labels: annotation.Labels | None
    block_size: int
    edges: str
    percentiles: tuple[float, float]
    skip: float


class Folder(SegmentationBuilder):
    """Blocks of the images of a folder. See `builder` for the options."""

    builder_config: FolderConfig

    def _split_generators(self, dl_manager):
        config = self.builder_config
        paths = {split: [path for _, path in files] for split, files in config.files.items()}
        together = [path for found in paths.values() for path in found]
        with contextlib.suppress(DataError):  # is told when the image is read
            _tell_bands(together[0], config.channels)
        ranges = bands.ranges(together, paths.get('train', together), config.channels, config.percentiles)
        if ranges:
            _logger.info('Bands are brought to 8 bits, from %s', ', '.join(f'{low:.5g} to {high:.5g}' for low, high in ranges))
        self.info.metadata[RANGES] = ranges
        return {split: self._generate_examples(files) for split, files in config.files.items()}

    def _generate_examples(self, files: list[tuple[str, Path]]):
        bad, small = [], []
        for identifier, path in files:
            try:
                yield from self._of_file(identifier, path, small)
            except DataError as error:
                bad.append(str(error))
        _settle(bad, len(files), self.builder_config.skip)
        if small:
            size, more = self.builder_config.block_size, f' and {len(small) - 1} more are' if len(small) > 1 else ' is'
            _logger.warning('%s%s smaller than a block of %d x %d; added pixels count nowhere', small[0], more, size, size)

    def _of_file(self, identifier: str, path: Path, small: list[str]):
        config, raw = self.builder_config, form(self)
        stored, label = raw.read(path), None
        if config.labels is not None and identifier in config.label_files:
            label_path = config.label_files[identifier]
            label = config.labels.read(label_path)
            images.check_same_size(label_path, label, stored)
        if (covered := coverage.covered(path, stored)) is not None:
            self.info.metadata[HAS_NODATA] = True
            label = np.where(covered, VOID if label is None else label, NODATA).astype(np.uint8)
        image = raw.scaled(raw.to_8_bits(stored))
        label = label if label is None else raw.scaled(label, label=True)
        if not config.block_size:
            yield example(identifier, image, label)
            return
        if min(image.shape[:2]) < config.block_size:
            small.append(f'{path} ({image.shape[1]} x {image.shape[0]} pixels)')
            self.info.metadata[HAS_NODATA] = True
            image, label = blocks.padded(image, label, config.block_size)
        for row, column, block, block_label in blocks.cut(path, image, label, config.block_size, config.edges):
            yield example(f'{identifier}_{row}_{column}', block, block_label)


def builder(
    *,
    data_dir: str,
    root: str,
    variant: str = '',
    labels: bool = True,
    channels: int = 3,
    rescale: float = 1.0,
    block_size: int = 200,
    edges: str = 'overlap',
    percentiles: Sequence[float] = (1.0, 99.0),
    skip: float = 0.0,
) -> Folder:
    """Builder for the folder `root`.

    variant: name of a coarser set of classes in classes.json ('' keeps the classes).
    labels: False leaves label maps unread.
    channels: 3 (RGB), or 4 to 16 bands as stored.
    rescale: factor on the size of images and labels.
    block_size: images are kept as square blocks of so many pixels (after rescaling); 0 keeps them whole. Smaller ones are
        continued by their mirror image, which counts nowhere.
    edges: what is done where the size is not a multiple of the block. 'overlap' moves blocks together until all is
        covered, each pixel being labelled in one block only; 'drop' cuts from the top left and leaves the rest out.
    percentiles: of each band over the split 'train', or over all images without one; they become 0 and 255 where images have more
        than 8 bits, and are of no effect otherwise.
    skip: up to this share of the files of a split is left out, with a warning, where they cannot be used.

    Raises DataError for what is missing or does not fit. Prepared files depend on the options and on the names, sizes
    and times of the files, so a changed folder is prepared anew.
    """
    directory = existing_directory(
        root, 'set --config.data.root to the folder with your images (to evaluate a run on it: --root)'
    )
    if edges not in ('overlap', 'drop'):
        raise DataError(f"data.edges is 'overlap' or 'drop', found {edges!r}")
    try:
        Form(channels, rescale)
    except DataError as error:
        raise DataError(f'--config.data: {error}') from error
    low, high = _percentiles(percentiles)
    if not 0 <= skip < 1:
        raise DataError(f'data.skip is a share of files, from 0 to less than 1; found {skip}')
    files, label_files, reading = contents(directory, variant, labels)
    if variant and reading is None:
        raise DataError(f'{directory}: data.variant={variant!r} needs label maps, in labels/ or of images.csv; found none')
    sources = prepared.stamps([*(path for pairs in files.values() for _, path in pairs), *label_files.values()])
    name = config_name(
        f'{directory.name}-{variant}' if variant else directory.name,
        root=directory,
        options=(variant, labels, channels, rescale, block_size, edges, *_unless_default(low, high, skip)),
        splits={split: [identifier for identifier, _ in pairs] for split, pairs in files.items()},
        classes=reading and (reading.classes, reading.by_id),
        stamps=sources,
    )
    config = FolderConfig(
        name=name,
        classes=reading.classes if reading else (),
        channels=channels,
        files=files,
        label_files=label_files,
        labels=reading,
        rescale=rescale,
        block_size=block_size,
        edges=edges,
        percentiles=(low, high),
        skip=skip,
        sources=sources,
    )
    return Folder(config=config, data_dir=data_dir)


def contents(directory: Path, variant: str = '', labels: bool = True) -> Contents:
    """What `builder` makes a data set of; DataError for what does not fit together."""
    found, label_files = manifest.read(directory) or _layout(directory, labels)
    label_files = label_files if labels else {}
    return Contents(found, label_files, annotation.found(directory, variant, label_files) if label_files else None)


def _unless_default(low: float, high: float, skip: float) -> tuple[float, ...]:
    """Options of today in the name of prepared data, which keeps the name that it had before there were any."""
    return () if (low, high, skip) == (1.0, 99.0, 0.0) else (low, high, skip)


def _settle(bad: Sequence[str], count: int, skip: float):
    """DataError that lists the bad ones of so many files, or a warning if they may be skipped."""
    if not bad:
        return
    shown = '\n'.join([*bad[:_SHOWN], *([f'... and {len(bad) - _SHOWN} more'] if len(bad) > _SHOWN else [])])
    if len(bad) > skip * count or len(bad) == count:
        advice = f'; or leave up to a share of them out: --config.data.skip={max(0.01, math.ceil(100 * len(bad) / count) / 100)}'
        more = f'\n{len(bad)} of {count} files cannot be used; mend or remove them{advice if len(bad) < count else ""}'
        raise DataError(shown if len(bad) == 1 == count else f'{shown}{more}')
    _logger.warning('%d of %d files cannot be used and are left out:\n%s', len(bad), count, shown)


def _percentiles(given: Any) -> tuple[float, float]:
    match given:
        case [int() | float() as low, int() | float() as high] if 0 <= low < high <= 100:
            return float(low), float(high)
    raise DataError(f'data.percentiles are two numbers from 0 to 100, the first the lower one; found {reprlib.repr(given)}')


def _tell_bands(path: Path, channels: int):
    """Says it where an image has bands that are not read."""
    if channels == 3 and tiff.is_tiff(path):
        with tiff.open_page(path) as page:
            found = page.samplesperpixel
        if found > 3 and not tiff.has_alpha(path):
            _logger.warning('%s has %d bands, of which three are read; --config.data.channels=%d reads all', path, found, found)


def _layout(directory: Path, labels: bool) -> manifest.Manifest:
    """What is there where no table names it."""
    base = directory / 'images' if (directory / 'images').is_dir() else directory
    by_id, table = listing.by_identifier(base), directory / 'splits.csv'
    splits = split_table.read(table, by_id, base)
    if not splits and len(named := sorted({key.partition('/')[0] for key in by_id} & _LIKE_SPLITS)) > 1:
        _logger.warning('%s: images in %s are all one split, train; %s can say otherwise', base, ' and '.join(named), table)
    return manifest.Manifest(
        splits or {'train': list(by_id.items())}, _label_files(directory / 'labels', by_id) if labels else {}
    )


def _label_files(directory: Path, by_id: Mapping[str, Path]) -> dict[str, Path]:
    """Label maps by the ids of their images, others being told; DataError if none is called like an image."""
    files = listing.files(directory, lambda name: '.' in name)
    found = {listing.identifier(path, directory): path for path in files}
    others = [path for key, path in found.items() if key not in by_id]
    if others and len(others) == len(found):
        raise DataError(
            f'{directory}: {len(found)} label files, none of which is called like an image; found {others[0]}, expected '
            f'{directory / next(iter(by_id))}.png. Rename them, name them in images.csv, or do without: '
            '--config.data.labels=False'
        )
    if others:
        _logger.warning('%d of %d label files are called like no image and are not read: %s', len(others), len(found), others[0])
    return {key: path for key, path in found.items() if key in by_id}
