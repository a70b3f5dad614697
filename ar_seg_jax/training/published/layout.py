"""From the arrays of a file of another program to those of a model here: their names, and the order of their axes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

Arrays = Mapping[str, np.ndarray]


class Layout(NamedTuple):
    """How a program names the arrays of a network, with '/' between the parts.

    place: from a name to the path of that array here, such as 'params/stem_conv/kernel' or 'batch_stats/stem_norm/mean'; several
    paths where the array is several, one after the other along its first axis; None for a name that the layout has not. ignored:
    whether an array has no place here on purpose, as that of a classifier.
    """

    place: Callable[[str], str | tuple[str, ...] | None]
    ignored: Callable[[str], bool]


class Translated(NamedTuple):
    """arrays: by their paths here. unknown: names of those that the layout has not. ignored: of those without a place here."""

    arrays: Arrays
    unknown: list[str]
    ignored: list[str]


def translate(arrays: Arrays, layout: Layout) -> Translated:
    """The arrays as Flax has them: kernels of torch with the axes turned, all else as it is."""
    ignored = [name for name in arrays if layout.ignored(name)]
    places = {name: layout.place(name) for name in arrays if name not in ignored}
    found = {}
    for name, place in places.items():
        if isinstance(place, str):
            found[place] = _turned(place, arrays[name])
        elif place is not None:
            parts = np.array_split(np.atleast_1d(arrays[name]), len(place))
            found |= {path: _turned(path, part) for path, part in zip(place, parts, strict=True)}
    return Translated(found, [name for name, place in places.items() if place is None], ignored)


def _turned(place: str, array: np.ndarray) -> np.ndarray:
    """(out, in, height, width) to (height, width, in, out), and (out, in) to (in, out)."""
    if not place.endswith('/kernel'):
        return array
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
