"""ISPRS Potsdam: aerial images with red, green, blue and infrared bands, in the blocks and splits of IIC (Ji et al. 2019).

Below the root there is either the ISPRS download, found by the names of its files wherever they lie,

    top_potsdam_<a>_<b>_RGBIR.tif     6000 x 6000 pixels, four bands of 8 bits (4_Ortho_RGBIR)
    top_potsdam_<a>_<b>_label.tif     class colours (5_Labels_for_participants, or 5_Labels_all)

or the directory that the authors of IIC prepared and shared: imgs/<name>.mat, gt/<name>.mat and three list files.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ar_seg_jax.data import images
from ar_seg_jax.data.builder import SegmentationBuilder, SegmentationConfig, config_name, example, existing_directory
from ar_seg_jax.data.classes import Class, colours
from ar_seg_jax.data.form import Form
from ar_seg_jax.data.limits import DataError

SPLITS = ('unlabelled_train', 'labelled_train', 'labelled_test')
_COLOURS = ((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0))
_NAMES = {
    6: ('roads', 'buildings', 'low vegetation', 'trees', 'cars', 'clutter'),
    3: ('roads and cars', 'buildings and clutter', 'vegetation and trees'),
}
_TO_THREE = {0: 0, 4: 0, 1: 1, 5: 1, 2: 2, 3: 2}
# Tiles whose labels IIC knew: those given to the participants of the ISPRS contest. Labels of the other 14 tiles came out later
# (5_Labels_all) and stay unread, so that both downloads make the same splits.
_LABELLED = {'2': range(10, 13), '3': range(10, 13), '4': range(10, 13), '5': range(10, 13), '6': range(7, 13), '7': range(7, 13)}
# In 5_Labels_all tile 4_12 is drawn in colours such as (9, 222, 221), and the cars of 6_7 are (252, 255, 0).
_COLOUR_TOLERANCE = 100  # grey levels; channels of the class colours are 0 or 255
_TEST_SHARE = 0.1  # of all blocks, labelled or not
_EVEN, _ODD = slice(None, -1, 2), slice(1, None, 2)  # rows or columns of 2 x 2 cells; an odd last one is left out


@dataclasses.dataclass(frozen=True)
class Block:
    """A square of a half-size tile."""

    tile: str
    row: int
    column: int

    def __str__(self) -> str:
        return f'{self.tile}_{self.row:02d}_{self.column:02d}'


@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class PotsdamConfig(SegmentationConfig):
    root: Path
    lists: str
    block_size: int
    seed: int


class Potsdam(SegmentationBuilder):
    """200x200 blocks of the tiles at half size. See `builder` for the options."""

    builder_config: PotsdamConfig

    def _split_generators(self, dl_manager):
        config = self.builder_config
        if (config.root / 'imgs').is_dir():
            lists = _read_lists(Path(config.lists or config.root))
            return {split: self._generate_prepared(names) for split, names in lists.items()}
        image_files, label_files = _tiles(config.root)
        blocks = [block for tile, path in image_files.items() for block in _blocks(tile, path, config.block_size)]
        splits = _choose(blocks, set(label_files), config.lists, config.seed)
        return {split: self._generate_examples(chosen, image_files, label_files) for split, chosen in splits.items()}

    def _generate_examples(self, blocks: list[Block], image_files: dict[str, Path], label_files: dict[str, Path]):
        # Blocks are in the order of their tiles: each tile is decoded once a split, and one is in memory at a time.
        size = self.builder_config.block_size
        current = None
        for block in blocks:
            if block.tile != current:
                current = block.tile
                image, label = self._read_tile(image_files[current], label_files.get(current))
            place = np.s_[block.row * size : (block.row + 1) * size, block.column * size : (block.column + 1) * size]
            yield example(str(block), image[place], None if label is None else label[place])

    def _read_tile(self, image_file: Path, label_file: Path | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Image and class indices of a tile, at half size."""
        image = Form(channels=4).read(image_file)
        label = None
        if label_file is not None:
            label = images.read_colours(label_file, _COLOURS, _COLOUR_TOLERANCE)
            images.check_same_size(label_file, label, image)
            label = self._merged(label_file, label[_EVEN, _EVEN])
        return _halved(image), label

    def _generate_prepared(self, names: list[str]):
        root = self.builder_config.root
        for name in names:
            image_file, label_file = root / 'imgs' / f'{name}.mat', root / 'gt' / f'{name}.mat'
            image = _read_mat(image_file, 'img')
            if image.ndim != 3 or image.shape[2] != 4:
                raise DataError(f"{image_file}: expected 'img' with four bands (R, G, B, IR), found shape {image.shape}")
            label = None
            if label_file.exists():
                label = self._merged(label_file, _read_mat(label_file, 'gt'))
                images.check_same_size(label_file, label, image)
            yield example(name, image, label)

    def _merged(self, path: Path, label: UInt8[np.ndarray, 'height width']) -> UInt8[np.ndarray, 'height width']:
        count = len(self.builder_config.classes)
        return images.map_ids(path, label, _TO_THREE if count == 3 else {index: index for index in range(6)})


def builder(*, data_dir: str, root: str, num_classes: int = 6, lists: str = '', block_size: int = 200, seed: int = 0) -> Potsdam:
    """Builder for Potsdam (6 classes) or Potsdam-3; splits unlabelled_train, labelled_train, labelled_test.

    Tiles are halved (each image pixel the mean of 2 x 2, its label that of the upper left one, as IIC's resizing comes to) and
    cut into 15 x 15 blocks of 200 pixels. By IIC's rule the test split is a tenth of all blocks, drawn with `seed` from the
    labelled ones: the 24 tiles of the contest's participants. Labels of other tiles are not read.

    lists: a directory with unlabelled_train.txt, labelled_train.txt and labelled_test.txt, one block a line, that decide
        instead; blocks of tiles are called <a>_<b>_<row>_<column>, such as 2_10_00_14. IIC drew its blocks' names at random,
        so its own lists fit the prepared directory only.

    An empty split is left out. Raises DataError for what is missing or does not fit. Prepared files depend on the options, on
    the lists and on the names, sizes and times of the tiles, so a completed download is prepared anew.
    """
    if num_classes not in _NAMES:
        raise DataError(f'Potsdam has 6 classes, or 3 merged ones, found data.num_classes={num_classes}')
    directory = existing_directory(root, 'set --config.data.root to the ISPRS Potsdam download, see docs/data_sets.md')
    prepared = (directory / 'imgs').is_dir()
    tiles = () if prepared else [path for files in _tiles(directory) for path in files.values()]
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in tiles]
    contents = _read_lists(Path(lists or directory)) if lists or prepared else {}
    options = {'root': directory, 'lists': lists, 'block_size': block_size, 'seed': seed}
    classes = tuple(map(Class, _NAMES[num_classes], colours(num_classes)))
    name = config_name(f'potsdam{num_classes}', num_classes=num_classes, stamps=stamps, contents=contents, **options)
    config = PotsdamConfig(name=name, classes=classes, channels=4, rescale=0.5, sources=stamps, **options)
    return Potsdam(config=config, data_dir=data_dir)


def _tiles(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Files of images and labels by tile; DataError if there are no images.

    Of two label files for a tile it takes the one in 5_Labels_for_participants, which comes last: see _COLOUR_TOLERANCE.
    """

    def by_tile(kind: str) -> dict[str, Path]:
        pattern = re.compile(rf'top_potsdam_(\d+_\d+)_{kind}\.tif')
        return {match[1]: path for path in sorted(root.rglob('*.tif')) if (match := pattern.fullmatch(path.name))}

    image_files = by_tile('RGBIR')
    if not image_files:
        raise DataError(
            f'{root}: no tiles top_potsdam_<a>_<b>_RGBIR.tif and no directory imgs/; unpack 4_Ortho_RGBIR and '
            '5_Labels_for_participants of the ISPRS download there'
        )
    known = {f'{a}_{b}' for a, columns in _LABELLED.items() for b in columns}
    return image_files, {tile: path for tile, path in by_tile('label').items() if tile in known}


def _blocks(tile: str, path: Path, size: int) -> Iterator[Block]:
    rows, columns = (side // 2 // size for side in images.read_size(path))
    if not rows * columns:
        raise DataError(f'{path}: at half size smaller than a block of {size} x {size} pixels; remove the file')
    return (Block(tile, row, column) for row in range(rows) for column in range(columns))


def _choose(blocks: list[Block], labelled: set[str], lists: str, seed: int) -> dict[str, list[Block]]:
    if lists:
        known = {str(block): block for block in blocks}
        return {split: _known(names, known, Path(lists), split) for split, names in _read_lists(Path(lists)).items()}
    with_label = [block for block in blocks if block.tile in labelled]
    count = round(_TEST_SHARE * len(blocks))
    if not 0 < count < len(with_label):
        raise DataError(
            f'{len(with_label)} of {len(blocks)} blocks have labels, but a test split needs a tenth of all blocks ({count}) and '
            'some must be left; add label tiles (5_Labels_for_participants), or give lists with --config.data.lists'
        )
    drawn = np.random.default_rng(seed).choice(len(with_label), count, replace=False)
    test = {with_label[index] for index in drawn}
    splits = {split: [] for split in SPLITS}
    for block in blocks:
        split = 'unlabelled_train' if block.tile not in labelled else 'labelled_test' if block in test else 'labelled_train'
        splits[split].append(block)
    return {split: chosen for split, chosen in splits.items() if chosen}


def _known(names: Iterable[str], known: dict[str, Block], lists: Path, split: str) -> list[Block]:
    missing = [name for name in names if name not in known]
    if missing:
        raise DataError(
            f'{lists / split}.txt: {len(missing)} blocks are not in the tiles, the first is {missing[0]!r}; '
            f'blocks are called <a>_<b>_<row>_<column>, such as {next(iter(known))}'
        )
    return sorted((known[name] for name in names), key=lambda block: (block.tile, block.row, block.column))


def _read_lists(directory: Path) -> dict[str, list[str]]:
    found = {split: directory / f'{split}.txt' for split in SPLITS if (directory / f'{split}.txt').exists()}
    lists = {split: list(dict.fromkeys(path.read_text(encoding='utf-8').split())) for split, path in found.items()}
    lists = {split: names for split, names in lists.items() if names}
    if not lists:
        raise DataError(f'{directory}: expected {", ".join(f"{split}.txt" for split in SPLITS)} with block names; found none')
    return lists


def _halved(image: UInt8[np.ndarray, 'height width channels']) -> UInt8[np.ndarray, 'half_height half_width channels']:
    """Mean of 2 x 2 pixels, halves up: what OpenCV's bilinear resizing, IIC's, gives at this factor."""
    total = sum(image[rows, columns].astype(np.uint16) for rows in (_EVEN, _ODD) for columns in (_EVEN, _ODD))
    return ((total + 2) // 4).astype(np.uint8)


def _read_mat(path: Path, key: str) -> UInt8[np.ndarray, '...']:
    from scipy import io  # which only the preparation of this data set needs

    try:
        content: dict[str, Any] = io.loadmat(path)
    except (OSError, ValueError, TypeError, LookupError, NotImplementedError, io.matlab.MatReadError) as error:
        raise DataError(f'{path}: not a readable MATLAB file ({error}); fetch it again') from error
    if key not in content:
        raise DataError(f'{path}: no variable {key!r}; found {[name for name in content if not name.startswith("_")]}')
    values = content[key]
    if values.dtype.kind not in 'iu' or not values.size or values.min() < 0 or values.max() > 255:
        raise DataError(f'{path}: expected whole numbers from 0 to 255 in {key!r}, found others of {values.dtype}')
    return values.astype(np.uint8)
