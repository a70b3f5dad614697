"""Label maps of a folder: their files, and what classes.json says of them; see `folder` for the layout."""

import dataclasses
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ar_seg_jax import files
from ar_seg_jax.data import classes, images, limits
from ar_seg_jax.data.builder import NODATA
from ar_seg_jax.data.classes import Class
from ar_seg_jax.data.limits import DataError
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


def found(directory: Path, variant: str, label_files: dict[str, Path]) -> Labels:
    """How these files are read: by the classes of classes.json, or one of its variants, or by the numbers that occur."""
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
        case {'names': [*names], 'map': {**pairs}} if all(map(_is_name, names)) and len(names) < NODATA:
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
