"""Segmenting images of any size in bounded memory."""

import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

TILE = 512  # pixels of the part that is kept, a multiple of every output stride
MARGIN = 64  # pixels around it that are seen too, more than the reach of any model without attention


def segment(
    one: Callable[[UInt8[np.ndarray, '...']], UInt8[np.ndarray, '...']], image: UInt8[np.ndarray, 'height width channels']
) -> UInt8[np.ndarray, 'height width']:
    """`one` over tiles of `image`, each seen with a margin that is then cut off.

    The five residual blocks reach 6 positions of 4 pixels beyond the stem, less than the margin, so tiles fit without
    seams and give just what the whole image would. Attention sees one tile with its margin rather than the whole image,
    and the dilated ResNet-18 reaches further than the margin; there tiled and whole results can differ slightly.
    """
    height, width = image.shape[:2]
    labels = np.empty((height, width), np.uint8)
    for row, column in itertools.product(range(0, height, TILE), range(0, width, TILE)):
        top, left = max(0, row - MARGIN), max(0, column - MARGIN)
        seen = one(image[top : row + TILE + MARGIN, left : column + TILE + MARGIN])
        kept = seen[row - top : row - top + TILE, column - left : column - left + TILE]
        labels[row : row + TILE, column : column + TILE] = kept
    return labels
