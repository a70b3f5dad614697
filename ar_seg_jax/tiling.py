"""Segmenting images of any size in bounded memory."""

import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

TILE = 512  # pixels from one tile to the next
MARGIN = 64  # pixels that a tile sees on every side beyond what is kept of it, more than the reach of any model without attention
_CELL = 4  # pixels; a multiple of every output stride, so that the cells of a tile are cells of the image


def segment(
    one: Callable[[UInt8[np.ndarray, '...']], UInt8[np.ndarray, '...']], image: UInt8[np.ndarray, 'height width channels']
) -> UInt8[np.ndarray, 'height width']:
    """`one` over tiles of `image`, whose margins are cut off where another tile goes on.

    The five residual blocks reach 6 positions of 4 pixels beyond the stem, less than the margin, so tiles fit without
    seams and give just what the whole image would. Attention sees one tile with its margin rather than the whole image,
    and the dilated ResNet-18 reaches further than the margin; there tiled and whole results can differ slightly.

    All tiles of an image have one shape if cells divide its sides, and at most four otherwise: each shape is compiled once.
    """
    height, width = image.shape[:2]
    labels = np.empty((height, width), np.uint8)
    for (top, bottom), (left, right) in itertools.product(spans(height), spans(width)):
        seen = one(image[top:bottom, left:right])
        upper, side = (MARGIN if start else 0 for start in (top, left))
        labels[top + upper : bottom, left + side : right] = seen[upper:, side:]  # the margins behind are overwritten later
    return labels


def spans(length: int) -> list[tuple[int, int]]:
    """Where tiles begin and end along a side. The last one is moved inwards, to be as long as the others."""
    seen = TILE + 2 * MARGIN
    last = max(0, length - seen) // _CELL * _CELL
    return [*((start, start + seen) for start in range(0, last, TILE)), (last, length)]
