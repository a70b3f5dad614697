"""Names and colours of classes and clusters."""

import colorsys
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID

Colour = tuple[int, int, int]  # RGB, 0..255

UNMATCHED = -1  # class of a cluster that has none
THINGS, STUFF = 'things', 'stuff'  # groups: what can be counted, and what cannot


class Class(NamedTuple):
    """A class of a data set, or what stands for one: its index is its place in a tuple of classes.

    group: of classes that are also scored by themselves, such as THINGS and STUFF; '' for none.
    """

    name: str
    colour: Colour
    group: str = ''


def colours(count: int) -> list[Colour]:
    """`count` colours that are easy to tell apart: hues a golden angle apart, in two brightnesses."""
    return [
        tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(0.6 + index * 0.381966, 0.75, (0.95, 0.65)[index // 8 % 2]))
        for index in range(count)
    ]


def numbered(prefix: str, count: int) -> tuple[Class, ...]:
    """Classes called '`prefix` 0', '`prefix` 1', ..."""
    return tuple(Class(f'{prefix} {index}', colour) for index, colour in enumerate(colours(count)))


def objects(count: int) -> tuple[Class, ...]:
    """What stands for classes where labels are numbers of objects: 'background', grey, and 'object 1' to 'object `count`'."""
    named = (Class(f'object {index}', colour) for index, colour in enumerate(colours(count), 1))
    return Class('background', (128, 128, 128)), *named


def classes_of(clusters: Integer[np.ndarray, '*shape'], mapping: Integer[np.ndarray, 'clusters']) -> UInt8[np.ndarray, '*shape']:
    """Class of each pixel from its cluster; VOID for unmatched clusters."""
    return np.where(mapping == UNMATCHED, VOID, mapping).astype(np.uint8)[clusters]


def in_words(labels: Integer[np.ndarray, 'height width'], classes: Sequence[Class]) -> str:
    """Share of the pixels of each class, the largest first."""
    return counts_in_words([int((labels == index).sum()) for index in range(len(classes))], labels.size, classes)


def counts_in_words(counts: Sequence[int], pixels: int, classes: Sequence[Class]) -> str:
    """The same, of a label map with so many pixels, and so many of each class."""
    shares = sorted(((count / pixels, entry.name) for count, entry in zip(counts, classes, strict=True)), reverse=True)
    return ', '.join(f'{name} {share:.0%}' for share, name in shares if share)


def from_json(path: Path | str, entries: Any) -> tuple[Class, ...]:
    """Classes from the list of {"name", "colour"}, perhaps with a "group", in a JSON file that anybody may have written.

    Raises UserError, which names the file, for anything else, and for more classes than a label map of 8 bits holds.
    """
    if not isinstance(entries, list) or len(entries) > VOID:
        raise UserError(f'{path}: expected a list of at most {VOID} classes, found {reprlib.repr(entries)}')
    return tuple(_class(path, entry) for entry in entries)


def _class(path: Path | str, entry: Any) -> Class:
    match entry:
        case {'name': str(name), 'colour': [_, _, _] as colour} if name.isprintable():
            group = entry.get('group', '')
            if all(_is_whole(level, 0, 255) for level in colour) and isinstance(group, str) and group.isprintable():
                return Class(name, tuple(colour), group)
    raise UserError(
        f'{path}: expected a class with a printable "name" and a "colour" of three times 0 to 255, and perhaps a printable '
        f'"group", found {reprlib.repr(entry)}'
    )


def mapping_from_json(path: Path, mapping: Any, num_classes: int) -> list[int]:
    """The class of each cluster (-1: none) from a JSON file that anybody may have written; UserError for anything else."""
    if not isinstance(mapping, list) or not all(_is_whole(entry, UNMATCHED, num_classes - 1) for entry in mapping):
        raise UserError(
            f'{path}: expected for each cluster one of {num_classes} classes by its number, or -1, found {reprlib.repr(mapping)}'
        )
    return mapping


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
