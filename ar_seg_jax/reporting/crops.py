"""The most typical crops of each cluster: windows of images in which its mean score is largest."""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ar_seg_jax.data import images
from ar_seg_jax.reporting import encoding
from ar_seg_jax.reporting.account import Picture
from ar_seg_jax.reporting.sight import Image, Seen

COUNT = 12  # of a cluster
_COLUMNS = 6  # of the sheet that they are shown on
_SIDE, _GAP = 64, 4  # pixels of a crop there, and between two
_GREY = 128  # between them: neither light nor dark


class Crop(NamedTuple):
    """The window at a row and column of pixels of the image `index`, with the mean score of its cluster there, 0 to 1."""

    score: float
    index: int
    row: int
    column: int
    side: int


def typical(seen: Sequence[Seen], cluster: int) -> list[Crop]:
    """Up to COUNT of them, the likeliest first, from as many images as there are; none of a cluster without pixels.

    Windows of an image do not overlap. Equal ones keep the order of their images.
    """
    of_images = [one for one in seen if one.counts[cluster].any()]
    if not of_images:
        return []
    of_each = -(-COUNT // len(of_images))
    found = [crop for one in of_images for crop in _likeliest(one, cluster, of_each)]
    return sorted(found, key=lambda crop: -crop.score)[:COUNT]


def _likeliest(seen: Seen, cluster: int, count: int) -> Iterator[Crop]:
    scores = seen.windows[:, :, cluster]
    for place in np.argsort(-scores, axis=None, kind='stable')[:count].tolist():
        row, column = divmod(place, scores.shape[1])
        yield Crop(float(scores[row, column]), seen.index, row * seen.side, column * seen.side, seen.side)


def sheets(found: Mapping[int, Sequence[Crop]], read: Callable[[int], Image]) -> dict[int, Picture]:
    """A picture of the crops of each cluster; `read` gives the image of an index, each of which is asked for once."""
    wanted = collections.defaultdict(list)
    for cluster, crops in found.items():
        for place, crop in enumerate(crops):
            wanted[crop.index].append((cluster, place, crop))
    sheets = {cluster: _empty(len(crops)) for cluster, crops in found.items() if crops}
    for index, places in sorted(wanted.items()):
        image = read(index)
        for cluster, place, crop in places:
            _paste(sheets[cluster], place, image, crop)
    return {cluster: encoding.photograph(sheet, _words(cluster, found[cluster])) for cluster, sheet in sheets.items()}


def _empty(count: int) -> UInt8[np.ndarray, 'height width 3']:
    rows, columns = -(-count // _COLUMNS), min(count, _COLUMNS)
    return np.full((rows * (_SIDE + _GAP) - _GAP, columns * (_SIDE + _GAP) - _GAP, 3), _GREY, np.uint8)


def _paste(sheet: UInt8[np.ndarray, '_ _ 3'], place: int, image: Image, crop: Crop):
    top, left = (number * (_SIDE + _GAP) for number in divmod(place, _COLUMNS))
    part = image[crop.row : crop.row + crop.side, crop.column : crop.column + crop.side, :3]
    sheet[top : top + _SIDE, left : left + _SIDE] = images.resize(np.ascontiguousarray(part), _SIDE, _SIDE)


def _words(cluster: int, crops: Sequence[Crop]) -> str:
    return (
        f'the {len(crops)} crops in which cluster {cluster} is likeliest, with mean scores from {crops[0].score:.2f} to '
        f'{crops[-1].score:.2f}'
    )
