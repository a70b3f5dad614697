"""Segmenting images of any size in bounded memory."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

TILE = 512  # pixels from one tile to the next, at most
MARGIN = 64  # pixels that a tile sees on every side beyond what is kept of it
RAMP = 64  # pixels over which blended tiles pass into one another; the rest of the margins, 32 pixels, is the reach

Image = UInt8[np.ndarray, 'height width channels']
Labels = UInt8[np.ndarray, 'height width']
ScoreMap = Float32[np.ndarray, 'height width clusters']
_Part = Float32[np.ndarray, '_ _ clusters']


class Span(NamedTuple):
    """What a tile sees of a side, `start` to `end`, and what of it is kept, `first` to `last`: together the kept are the side."""

    start: int
    end: int
    first: int
    last: int


def segment(one: Callable[[Image], Labels], image: Image, stride: int) -> Labels:
    """`one` over tiles of `image`, whose margins are cut off where another tile goes on.

    Tiles begin at multiples of `stride`, that of the network, so that their cells are cells of the image.

    For networks whose reach is at most the margin: tiles then fit without seams, and give just what the whole image would.

    All tiles of an image have one shape if cells divide its sides, and at most four otherwise: each shape is compiled once.
    """
    height, width = image.shape[:2]
    labels = np.empty((height, width), np.uint8)
    for row, column in itertools.product(spans(height, stride), spans(width, stride)):
        seen = one(image[row.start : row.end, column.start : column.end])
        kept = seen[row.first - row.start : row.last - row.start, column.first - column.start : column.last - column.start]
        labels[row.first : row.last, column.first : column.last] = kept
    return labels


def blend(one: Callable[[Image], ScoreMap], image: Image, stride: int) -> Labels:
    """The best of the scores that `one` gives for tiles of `image`, which pass from tile to tile over `RAMP` pixels.

    For networks that reach further, which see a tile with its margins rather than the whole image: two tiles judge the same
    pixels differently, and where one is cut off, labels would change along a line. Where two tiles agree, the result is what
    both say.

    Beside those of a tile, scores of `RAMP` rows of the image are in memory. Tiles begin where those of `segment` do, and have
    their shapes.
    """
    height, width = image.shape[:2]
    labels = np.empty((height, width), np.uint8)
    columns = spans(width, stride, RAMP)
    above = [None] * len(columns)
    for row in spans(height, stride, RAMP):
        beside = None
        for index, column in enumerate(columns):
            scores = one(image[row.start : row.end, column.start : column.end]).copy()
            scores, beside = _join(beside, scores, column, axis=1)
            scores, above[index] = _join(above[index], scores, row, axis=0)
            labels[row.first : row.last, column.first : column.last] = scores.argmax(axis=-1)
            del scores  # before those of the next tile come
    return labels


def spans(length: int, stride: int, ramp: int = 0) -> list[Span]:
    """The tiles along a side, which begin at multiples of `stride`. The last one is moved inwards, to be as long as the others.

    Where one goes over into the next, the `ramp` pixels around the middle of their margins are kept of the next.
    """
    seen = -(-(TILE + 2 * MARGIN) // stride) * stride
    last = max(0, length - seen) // stride * stride
    starts = [*range(0, last, TILE // stride * stride), last]
    firsts = [0, *(start + MARGIN - ramp // 2 for start in starts[1:])]
    ends = [*(start + seen for start in starts[:-1]), length]
    return [Span(*span) for span in zip(starts, ends, firsts, [*firsts[1:], length], strict=True)]


def _join(before: _Part | None, scores: _Part, span: Span, axis: int) -> tuple[_Part, _Part]:
    """What is kept of a tile along an axis, passing from what the one `before` gives into its own; and what it gives itself."""
    kept = np.moveaxis(scores, axis, 0)[span.first - span.start :]
    if before is not None:
        weight = (np.arange(RAMP, dtype=np.float32)[:, None, None] + 0.5) / RAMP
        kept[:RAMP] = before + weight * (kept[:RAMP] - before)  # just `before` where both are equal, whatever the weight
    length = span.last - span.first
    given = kept[length : length + RAMP].copy()  # a view would keep the whole tile in memory
    return np.moveaxis(kept[:length], 0, axis), given
