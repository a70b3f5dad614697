"""Names and colours of classes and clusters."""

import colorsys
from typing import NamedTuple

Colour = tuple[int, int, int]  # RGB, 0..255


class Class(NamedTuple):
    """A class of a data set, or what stands for one: its index is its place in a tuple of classes."""

    name: str
    colour: Colour


def colours(count: int) -> list[Colour]:
    """`count` colours that are easy to tell apart: hues a golden angle apart, in two brightnesses."""
    return [
        tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(0.6 + index * 0.381966, 0.75, (0.95, 0.65)[index // 8 % 2]))
        for index in range(count)
    ]


def numbered(prefix: str, count: int) -> tuple[Class, ...]:
    """Classes called '`prefix` 0', '`prefix` 1', ..."""
    return tuple(Class(f'{prefix} {index}', colour) for index, colour in enumerate(colours(count)))
