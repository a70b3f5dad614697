"""Deepmind's multi-object data sets (Kabra et al. 2019) as they are published: one compressed TFRecord file each.

github.com/google-deepmind/multi_object_datasets says where the files are. Each example has an image and a mask, 0 or 255, for
every entity, of which the first ones are background: one of CLEVR with masks, Multi-dSprites and Tetrominoes; the sky, the floor
and two walls of Objects Room.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ar_seg_jax.data import images, records
from ar_seg_jax.data.builder import SegmentationBuilder, SegmentationConfig, config_name, example, existing_directory
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.data.prepared import stamps


@dataclasses.dataclass(frozen=True)
class Format:
    """What a file has.

    masks_last: masks of an image are stored as (height, width, entity), else as (entity, height, width). used: examples from the
    first on that GENESIS uses; 0 for a file of a test, all of which is one split.
    """

    file: str
    height: int
    width: int
    entities: int
    used: int
    channels: int = 3
    background: int = 1
    masks_last: bool = False


def _sprites(name: str, entities: int, channels: int = 3) -> Format:
    return Format(f'multi_dsprites_{name}.tfrecords', 64, 64, entities, 60_000, channels, masks_last=True)


def _room(name: str, entities: int, used: int = 0) -> Format:
    return Format(f'objects_room_{name}.tfrecords', 64, 64, entities, used, background=4)


VARIANTS = {
    'clevr_with_masks': Format('clevr_with_masks_train.tfrecords', 240, 320, 11, 70_000),
    'multi_dsprites_binarized': _sprites('binarized', 4, channels=1),
    'multi_dsprites_colored_on_grayscale': _sprites('colored_on_grayscale', 6),
    'multi_dsprites_colored_on_colored': _sprites('colored_on_colored', 5),
    'tetrominoes': Format('tetrominoes_train.tfrecords', 35, 35, 4, 60_000),
    'objects_room': _room('train', 7, 1_000_000),
    'objects_room_empty_room': _room('test_empty_room', 4),
    'objects_room_six_objects': _room('test_six_objects', 10),
    'objects_room_identical_color': _room('test_identical_color', 10),
}
PROTOCOLS = ('ast', 'genesis')
_AST_CLEVR = 100_000  # examples of CLEVR with masks, all of which AST uses
_GENESIS_HELD_OUT = 10_000  # examples of test, and of val
_CROP = 192  # pixels of the square from the middle of CLEVR's images, 0.8 of their height
_SIZES = {('clevr_with_masks', 'ast'): 128, ('clevr_with_masks', 'genesis'): 128, ('tetrominoes', 'genesis'): 32}  # pixels


@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class RecordsConfig(SegmentationConfig):
    path: Path
    format: Format
    protocol: str
    size: int
    counts: dict[str, int]  # examples of each split, in the order of the file; empty where all are the split test


class MultiObjectRecords(SegmentationBuilder):
    """Images with the numbers of their objects. See `builder` for the options."""

    builder_config: RecordsConfig

    def _split_generators(self, dl_manager):
        # Nobody can begin in the middle of the file: TFDS makes splits one after another, and these share what reads it.
        config = self.builder_config
        found = enumerate(records.read(config.path))
        if not config.counts:
            return {'test': self._generate_examples(found)}
        return {split: self._generate_counted(found, split) for split in config.counts}

    def _generate_counted(self, found: Iterator[tuple[int, bytes]], split: str):
        config, made = self.builder_config, 0
        for made_example in self._generate_examples(itertools.islice(found, config.counts[split])):
            yield made_example
            made += 1
        if made < config.counts[split]:
            raise DataError(
                f'{config.path}: expected {sum(config.counts.values())} examples, but the file ends within those of the split '
                f'{split}; set --config.data.count to the number that it has'
            )
        if split == list(config.counts)[-1]:
            next(found, None)  # reads on to the end of the file, if this is it, where its sum is checked

    def _generate_examples(self, found: Iterator[tuple[int, bytes]]):
        config = self.builder_config
        for index, payload in found:
            image, label = _read(records.Example(payload, config.path, index), config.format)
            if config.format.height != config.format.width:
                image, label = images.middle(image, _CROP), images.middle(label, _CROP)
            if config.protocol == 'genesis':
                image, label = (images.nearest(array, config.size, config.size) for array in (image, label))
            else:
                image = images.resize(image, config.size, config.size)
                label = images.resize(label, config.size, config.size, label=True)
            yield example(f'{index:07d}', image, label)


def builder(
    *, data_dir: str, root: str, variant: str = 'clevr_with_masks', protocol: str = 'ast', size: int = 0, count: int = 0
) -> MultiObjectRecords:
    """Builder for one of VARIANTS, whose file lies below `root`; splits train, val and test, or test alone for a test's file.

    protocol: splits, and how images are made smaller. The first examples are the split test, the next ones val, the rest train.
        ast: a tenth each for test and val, as AST has it for the 100,000 examples of CLEVR; images bilinear with antialiasing,
            masks nearest, by Pillow. AST does not say how it splits Objects Room.
        genesis: 10,000 each for test and val, of 70,000 examples of CLEVR, 60,000 of Multi-dSprites and Tetrominoes, and
            1,000,000 of Objects Room; images and masks nearest as PyTorch's `interpolate`.
        Both cut a square of 192 pixels from the middle of CLEVR's images. AST's own conversion exchanges red and blue of CLEVR,
        and this does not.
    size: pixels of a side; 0 is 128 for CLEVR, 32 for Tetrominoes with genesis, and else that of the file.
    count: examples that are used, from the first on; 0 is as many as the protocol has.

    Raises DataError for what is missing or does not fit. Prepared files depend on the options and on name, size and time of the
    file.
    """
    if variant not in VARIANTS or protocol not in PROTOCOLS:
        raise DataError(
            f'data.variant is one of {", ".join(VARIANTS)} and data.protocol one of {", ".join(PROTOCOLS)}; found {variant!r} '
            f'and {protocol!r}'
        )
    if min(size, count) < 0:
        raise DataError(f'data.size and data.count are at least 0, found {size} and {count}')
    form = VARIANTS[variant]
    path = _file(existing_directory(root, f'set --config.data.root to the directory with {form.file}'), form.file)
    size = size or _SIZES.get((variant, protocol), form.height)
    options = {'variant': variant, 'protocol': protocol, 'size': size, 'counts': _counts(variant, protocol, count)}
    config = RecordsConfig(
        name=config_name(f'{variant}-{protocol}-{size}', stamps=stamps([path]), **options),
        sources=stamps([path]),
        classes=(),
        instances=True,
        rescale=size / (_CROP if form.height != form.width else form.height),
        path=path,
        format=form,
        protocol=protocol,
        size=size,
        counts=options['counts'],
    )
    return MultiObjectRecords(config=config, data_dir=data_dir)


def _file(root: Path, name: str) -> Path:
    """The file below the directory; names that gsutil and others make of its path, such as 'clevr_<name>', count too."""
    found = sorted(root.rglob(f'*{name}'))
    if len(found) != 1:
        several = f'; found {", ".join(str(path.relative_to(root)) for path in found)}' if found else ', found none'
        raise DataError(f'{root}: expected one file {name} below this directory{several}. Fetch it as its authors publish it')
    return found[0]


def _counts(variant: str, protocol: str, count: int) -> dict[str, int]:
    """Examples of each split."""
    used = VARIANTS[variant].used
    if not used:
        return {}
    count = count or (_AST_CLEVR if (variant, protocol) == ('clevr_with_masks', 'ast') else used)
    held_out = count // 10 if protocol == 'ast' else _GENESIS_HELD_OUT
    if not 0 < held_out <= (count - 1) // 2:
        raise DataError(f'data.count={count} examples are too few for test and val of {held_out} each, as {protocol} has it')
    return {'test': held_out, 'val': held_out, 'train': count - 2 * held_out}


def _read(found: records.Example, form: Format) -> tuple[UInt8[np.ndarray, 'height width 3'], UInt8[np.ndarray, 'height width']]:
    """Image and label map; what no entity has is background, as AST's argmax over entities has it."""
    image = found.array('image', (form.height, form.width, form.channels))
    order = (form.height, form.width, form.entities) if form.masks_last else (form.entities, form.height, form.width)
    entity = np.argmax(found.array('mask', (*order, 1))[..., 0], axis=2 if form.masks_last else 0)
    label = np.maximum(entity - (form.background - 1), 0).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (form.height, form.width, 3))), label
