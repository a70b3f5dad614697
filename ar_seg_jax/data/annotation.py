"""Label maps of a folder: their files, and what classes.json says of them; see `folder` for the layout."""

import dataclasses
import reprlib
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
        with images.open_image(path) as image:
            in_colours = image.mode in ('RGB', 'RGBA')
        if not in_colours:
            return images.map_ids(path, images.read_ids(path), self.by_id)
        if not self.colours:
            raise DataError(f'{path}: a label map in colours needs classes.json with "color_rgb" for every class')
        indices = images.read_colours(path, self.colours)
        known = {place: self.by_id[key] for place, key in enumerate(self.colour_ids) if key in self.by_id}
        return images.map_ids(path, indices, known)


def found(directory: Path, variant: str, label_files: dict[str, Path]) -> Labels:
    """How these files are read: by the classes of classes.json, or one of its variants, or by the numbers that occur."""
    table = directory / 'classes.json'
    if not table.exists():
        if variant:
            raise DataError(f'{table}: no such file, but data.variant={variant!r} is defined there')
        return _numbered(label_files)
    content = _content(table)
    entries = content.get('classes')
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


def _numbered(label_files: dict[str, Path]) -> Labels:
    """Classes for label maps that nobody named: the ids that occur, except VOID."""
    ids = sorted({int(key) for path in label_files.values() for key in np.unique(images.read_ids(path))} - {VOID})
    named = tuple(Class(f'class {key}', colour) for key, colour in zip(ids, classes.colours(len(ids)), strict=True))
    return Labels(named, {key: index for index, key in enumerate(ids)}, (), ())
