"""Any folder of images, with or without labels.

The simplest layout is images (jpg, png, tif, bmp, webp) anywhere below the folder. The full one is

    images/*            one image per id
    labels/<id>.png     optional label map of the same size: class ids, or class colours if classes.json gives them
    splits.csv          optional, see `split_table`; without it all images are the split 'train'
    classes.json        optional: {"ignore": 255, "classes": [{"id": 0, "name": "road", "color_rgb": [128, 64, 128]}, ...],
                        "coarse": {"names": ["flat", ...], "map": {"0": 0, "1": 255, ...}}}

Images without a label map count as not annotated.
"""

import dataclasses
import itertools
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from ar_seg_jax import files
from ar_seg_jax.data import classes, images, limits, split_table
from ar_seg_jax.data.builder import SegmentationBuilder, SegmentationConfig, config_name, example, existing_directory
from ar_seg_jax.data.classes import Class
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.data.prepared import Source
from ar_seg_jax.interfaces import VOID

_IDS = frozenset(map(str, range(256)))


@dataclasses.dataclass(frozen=True)
class Labels:
    """How label files are read: class index by id, and by position in `colours` for maps drawn in colours."""

    classes: tuple[Class, ...]
    by_id: dict[int, int]
    colours: tuple[classes.Colour, ...]
    colour_ids: tuple[int, ...]

    def read(self, path: Path) -> UInt8[np.ndarray, 'height width']:
        """The class of each pixel, or VOID."""
        return images.map_ids(path, self.ids(path), self.by_id)

    def ids(self, path: Path) -> UInt8[np.ndarray, 'height width']:
        """The ids of the file, whether they are known or not."""
        with images.open_image(path) as image:
            in_colours = image.mode in ('RGB', 'RGBA')
        if not in_colours:
            return images.read_ids(path)
        if not self.colours:
            raise DataError(f'{path}: a label map in colours needs classes.json with "color_rgb" for every class')
        return np.array(self.colour_ids, np.uint8)[images.read_colours(path, self.colours)]


UNNAMED = Labels((), {}, (), ())  # reads the ids of label maps of which nothing is known


class Contents(NamedTuple):
    """What is in a folder.

    images: id and file of the images of each split. label_files: by id. labels: how these are read; None if there are none.
    """

    images: dict[str, list[tuple[str, Path]]]
    label_files: dict[str, Path]
    labels: Labels | None


@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class FolderConfig(SegmentationConfig):
    files: dict[str, list[tuple[str, Path]]]  # (id, image file) of each split
    label_files: dict[str, Path]
    labels: Labels | None
    block_size: int
    edges: str


class Folder(SegmentationBuilder):
    """Blocks of the images of a folder. See `builder` for the options."""

    builder_config: FolderConfig

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(files) for split, files in self.builder_config.files.items()}

    def _generate_examples(self, files: list[tuple[str, Path]]):
        config = self.builder_config
        for identifier, path in files:
            image = images.read_image(path, config.channels)
            images.check_rescaled(path, image, config.rescale)
            label = None
            if config.labels is not None and identifier in config.label_files:
                label_path = config.label_files[identifier]
                label = config.labels.read(label_path)
                images.check_same_size(label_path, label, image)
                label = images.rescale(label, config.rescale, label=True)
            image = images.rescale(image, config.rescale)
            if not config.block_size:
                yield example(identifier, image, label)
                continue
            for row, column, block, block_label in blocks(path, image, label, config.block_size, config.edges):
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
) -> Folder:
    """Builder for the folder `root`.

    variant: name of a coarser set of classes in classes.json ('' keeps the classes).
    labels: False leaves label maps unread.
    channels: 3 (RGB) or 4 (four bands as stored).
    rescale: factor on the size of images and labels.
    block_size: images are kept as square blocks of so many pixels (after rescaling); 0 keeps them whole.
    edges: what is done where the size is not a multiple of the block. 'overlap' moves blocks together until all is
        covered, each pixel being labelled in one block only; 'drop' cuts from the top left and leaves the rest out.

    Raises DataError for what is missing or does not fit. Prepared files depend on the options and on the names, sizes
    and times of the files, so a changed folder is prepared anew.
    """
    directory = existing_directory(
        root, 'set --config.data.root to the folder with your images (to evaluate a run on it: --root)'
    )
    if edges not in ('overlap', 'drop'):
        raise DataError(f"data.edges is 'overlap' or 'drop', found {edges!r}")
    images.check_form('--config.data', channels, rescale)
    files, label_files, reading = contents(directory, variant, labels)
    if variant and reading is None:
        raise DataError(f'{directory}: data.variant={variant!r} needs label maps in {directory / "labels"}; found none')
    sources = stamps([*(path for pairs in files.values() for _, path in pairs), *label_files.values()])
    name = config_name(
        f'{directory.name}-{variant}' if variant else directory.name,
        root=directory,
        options=(variant, labels, channels, rescale, block_size, edges),
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
        sources=sources,
    )
    return Folder(config=config, data_dir=data_dir)


def contents(directory: Path, variant: str = '', labels: bool = True) -> Contents:
    """What `builder` makes a data set of; DataError for what does not fit together."""
    found = _image_files(directory)
    label_files = {path.stem: path for path in sorted((directory / 'labels').glob('*.*'))} if labels else {}
    return Contents(found, label_files, _labels(directory, variant, label_files) if label_files else None)


def find_images(directory: Path) -> list[Path]:
    """What is called like an image below a directory, sorted, hidden ones left out; DataError if there is none.

    Links to nowhere and pipes are found too, so that whoever reads them says what is wrong with them.
    """
    found = sorted(
        path
        for path in directory.rglob('*')
        if path.suffix.lower() in images.SUFFIXES
        and not path.is_dir()
        and not any(part.startswith('.') for part in path.relative_to(directory).parts)
    )
    if not found:
        raise DataError(f'{directory}: no images found; expected files ending in {", ".join(images.SUFFIXES)}')
    return found


def by_identifier(base: Path) -> dict[str, Path]:
    """The images below a directory by their paths from there, without endings; DataError if two differ in these only."""
    found: dict[str, Path] = {}
    for path in find_images(base):
        identifier = path.relative_to(base).with_suffix('').as_posix()
        if identifier in found:
            raise DataError(f'{path}: same name as {found[identifier]} but for its ending; names of images must differ')
        found[identifier] = path
    return found


def stamps(paths: Iterable[Path]) -> list[Source]:
    """What changes when files change: names, sizes and times."""
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]


def _image_files(directory: Path) -> dict[str, list[tuple[str, Path]]]:
    """Id and file of the images of each split."""
    base = directory / 'images' if (directory / 'images').is_dir() else directory
    by_id = by_identifier(base)
    return split_table.read(directory / 'splits.csv', by_id, base) or {'train': list(by_id.items())}


def _labels(directory: Path, variant: str, label_files: dict[str, Path]) -> Labels:
    table = directory / 'classes.json'
    if not table.exists():
        if variant:
            raise DataError(f'{table}: no such file, but data.variant={variant!r} is defined there')
        return numbered(key for path in label_files.values() for key in np.unique(UNNAMED.ids(path)))
    return read_classes(table, variant)


def read_classes(table: Path, variant: str = '') -> Labels:
    """How label maps are read whose ids a classes.json names; DataError for anything else that is in it.

    That which `ar_seg_jax.predict` writes names ids by their order.
    """
    content = _content(table)
    entries = content.get('classes')
    if isinstance(entries, list) and all(isinstance(entry, dict) and entry.keys() >= {'name', 'colour'} for entry in entries):
        named = classes.from_json(table, entries)
        entries = [{'id': key, 'name': entry.name, 'color_rgb': list(entry.colour)} for key, entry in enumerate(named)]
    if not entries:
        raise DataError(
            f'{table}: no list "classes" of {{"id", "name", "color_rgb"}}; found {sorted(content)}. Add it, or train without '
            'label maps: --config.data.labels=False'
        )
    ignored = content.get('ignore', VOID)
    _check_classes(table, entries, ignored)
    ids = [entry['id'] for entry in entries]
    given = [tuple(entry.get('color_rgb', ())) for entry in entries]
    if variant:
        if variant not in content or 'map' not in content[variant]:
            known = [key for key, value in content.items() if isinstance(value, dict) and 'map' in value]
            raise DataError(f'{table}: no variant {variant!r}; the variants are {known or "none"}')
        names, by_id = _variant(table, content[variant])
        chosen = tuple(map(Class, names, classes.colours(len(names))))
    else:
        kept = [entry for entry in entries if entry['id'] != ignored]
        by_id = {entry['id']: index for index, entry in enumerate(kept)} | {ignored: VOID}
        fallback = classes.colours(len(kept))
        chosen = tuple(Class(entry['name'], tuple(entry.get('color_rgb', fallback[i]))) for i, entry in enumerate(kept))
    by_id.setdefault(VOID, VOID)
    return Labels(chosen, by_id, tuple(given) if all(given) else (), tuple(ids))


def _content(table: Path) -> dict[str, Any]:
    limits.check_file(table)
    return files.read_json(table, advice='ar_seg_jax/data/folder.py has its form')


def _check_classes(table: Path, entries: Any, ignored: Any):
    """DataError unless all classes have different ids of 8 bits and a printable name, and colours are colours."""
    for entry in entries if isinstance(entries, list) else [entries]:
        match entry:
            case {'id': int(key), 'name': name} if key in range(256) and _is_name(name):
                if _is_colour(entry.get('color_rgb', [0, 0, 0])):
                    continue
        raise DataError(
            f'{table}: expected a class as {{"id": 0 to 255, "name": "...", "color_rgb": [0 to 255, 0 to 255, 0 to 255]}}, found '
            f'{reprlib.repr(entry)}'
        )
    ids = [entry['id'] for entry in entries]
    if len(set(ids)) < len(ids) or type(ignored) is not int or ignored not in range(256):
        raise DataError(f'{table}: ids of classes must differ, and "ignore" be a number from 0 to 255; found {ids}, {ignored!r}')


def _variant(table: Path, content: Any) -> tuple[list[str], dict[int, int]]:
    """Names of the classes of a coarser set, and the index of each id in it; DataError if they do not fit together."""
    match content:
        case {'names': [*names], 'map': {**pairs}} if all(map(_is_name, names)) and len(names) < VOID:
            if all(key in _IDS and (value == VOID or value in range(len(names))) for key, value in pairs.items()):
                return names, {int(key): value for key, value in pairs.items()}
    raise DataError(
        f'{table}: expected a variant as {{"names": ["...", ...], "map": {{"id": index of a name, or {VOID}, ...}}}}, found '
        f'{reprlib.repr(content)}'
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_colour(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(level, int) and 0 <= level <= 255 for level in value)


def numbered(ids: Iterable[int], prefix: str = 'class') -> Labels:
    """For label maps that nobody named: a class for each of the ids that occur, except VOID."""
    ids = sorted(set(map(int, ids)) - {VOID})
    named = tuple(Class(f'{prefix} {key}', colour) for key, colour in zip(ids, classes.colours(len(ids)), strict=True))
    return Labels(named, {key: index for index, key in enumerate(ids)}, (), ())


def blocks(
    path: Path, image: np.ndarray, label: np.ndarray | None, size: int, edges: str
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray | None]]:
    """Row, column, image and label map of each block, from the top left."""
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise DataError(
            f'{path}: {width} x {height} pixels after rescaling is smaller than a block of {size} x {size}; '
            'lower --config.data.block_size (and the crop), raise --config.data.rescale, or remove the file'
        )
    rows, columns = _starts(height, size, edges), _starts(width, size, edges)
    seen = np.zeros((height, width), bool)
    for row, column in itertools.product(rows, columns):
        place = np.s_[row : row + size, column : column + size]
        block_label = None if label is None else np.where(seen[place], VOID, label[place]).astype(np.uint8)
        seen[place] = True
        yield row, column, image[place], block_label


def _starts(length: int, size: int, edges: str) -> list[int]:
    if edges == 'drop':
        return list(range(0, length - size + 1, size))
    count = -(-length // size)
    return [round(start) for start in np.linspace(0, length - size, count)]
