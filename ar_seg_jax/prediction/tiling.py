"""Segmenting images of any size in bounded memory."""

from collections.abc import Callable, Iterator
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


# What a tile sees, in a row and a column of tiles; None where there is nothing to be seen, whose labels are 0 then.
Read = Callable[[Span, Span], Image | None]
Rows = Iterator[tuple[Span, Labels]]


def segment(one: Callable[[Image], Labels], image: Image, stride: int) -> Labels:
    """`segment_rows` of an image in memory."""
    return _whole(segment_rows(one, _cut_from(image), image.shape[:2], stride), image.shape[:2])


def blend(one: Callable[[Image], ScoreMap], image: Image, stride: int) -> Labels:
    """`blend_rows` of an image in memory."""
    return _whole(blend_rows(one, _cut_from(image), image.shape[:2], stride), image.shape[:2])


def segment_rows(one: Callable[[Image], Labels], read: Read, size: tuple[int, int], stride: int, begin: int = 0) -> Rows:
    """`one` over the tiles of an image of some height and width, whose margins are cut off where another tile goes on.

    Tiles begin at multiples of `stride`, that of the network, so that their cells are cells of the image. What is kept of them
    comes row of tiles by row of tiles, from row `begin` on.

    For networks whose reach is at most the margin: tiles then fit without seams, and give just what the whole image would.

    All tiles of an image have one shape if cells divide its sides, and at most four otherwise: each shape is compiled once.
    """
    height, width = size
    for row in spans(height, stride)[begin:]:
        labels = np.zeros((row.last - row.first, width), np.uint8)
        for column in spans(width, stride):
            tile = read(row, column)
            if tile is not None:
                kept = one(tile)[row.first - row.start : row.last - row.start]
                labels[:, column.first : column.last] = kept[:, column.first - column.start : column.last - column.start]
        yield row, labels


def blend_rows(one: Callable[[Image], ScoreMap], read: Read, size: tuple[int, int], stride: int, begin: int = 0) -> Rows:
    """The best of the scores that `one` gives for tiles, which pass from tile to tile over `RAMP` pixels.

    For networks that reach further, which see a tile with its margins rather than the whole image: two tiles judge the same
    pixels differently, and where one is cut off, labels would change along a line. Where two tiles agree, the result is what
    both say.

    Beside those of a tile, scores of `RAMP` rows of the image are in memory. Those that pass into row `begin` are computed first,
    from two rows of tiles, since the last one but one can be lower than a ramp. Tiles begin where those of `segment_rows` do, and
    have their shapes.
    """
    height, width = size
    columns = spans(width, stride, RAMP)
    above = [None] * len(columns)
    for number, row in enumerate(spans(height, stride, RAMP)):
        if number < begin - 2:
            continue
        labels, beside = np.zeros((row.last - row.first, width), np.uint8), None
        for index, column in enumerate(columns):
            tile = read(row, column)
            if tile is None:  # nor is there anything on the ramps from it to the next ones
                above[index] = beside = None
                continue
            scores = one(tile).copy()
            scores, beside = _join(beside, scores, column, axis=1)
            scores, above[index] = _join(above[index], scores, row, axis=0)
            labels[:, column.first : column.last] = scores.argmax(axis=-1)
            del scores  # before those of the next tile come
        if number >= begin:
            yield row, labels


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


def _cut_from(image: Image) -> Read:
    return lambda row, column: image[row.start : row.end, column.start : column.end]


def _whole(rows: Rows, size: tuple[int, int]) -> Labels:
    labels = np.empty(size, np.uint8)
    for row, kept in rows:
        labels[row.first : row.last] = kept
    return labels


def _join(before: _Part | None, scores: _Part, span: Span, axis: int) -> tuple[_Part, _Part]:
    """What is kept of a tile along an axis, passing from what the one `before` gives into its own; and what it gives itself."""
    kept = np.moveaxis(scores, axis, 0)[span.first - span.start :]
    if before is not None:
        weight = (np.arange(RAMP, dtype=np.float32)[:, None, None] + 0.5) / RAMP
        kept[:RAMP] = before + weight * (kept[:RAMP] - before)  # just `before` where both are equal, whatever the weight
    length = span.last - span.first
    given = kept[length : length + RAMP].copy()  # a view would keep the whole tile in memory
    return np.moveaxis(kept[:length], 0, axis), given
