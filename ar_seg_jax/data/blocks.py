"""Images cut into square blocks."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Num, UInt8

from ar_seg_jax.data.builder import NODATA
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID


def cut(
    path: Path, image: np.ndarray, label: np.ndarray | None, size: int, edges: str
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray | None]]:
    """Row, column, image and label map of each block that has data, from the top left."""
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise DataError(
            f'{path}: {width} x {height} pixels after rescaling is smaller than a block of {size} x {size}; '
            'lower --config.data.block_size (and the crop), raise --config.data.rescale, or remove the file'
        )
    rows, columns = _starts(height, size, edges), _starts(width, size, edges)
    seen = np.zeros((height, width), bool)
    for row, column in itertools.product(rows, columns):
        place = np.s_[row : row + size, column : column + size]
        block_label = None
        if label is not None:
            block_label = np.where(seen[place] & (label[place] != NODATA), VOID, label[place]).astype(np.uint8)
        seen[place] = True
        if block_label is None or (block_label != NODATA).any():
            yield row, column, image[place], block_label


def padded(
    image: Num[np.ndarray, 'height width channels'], label: UInt8[np.ndarray, 'height width'] | None, size: int
) -> tuple[Num[np.ndarray, '_ _ channels'], UInt8[np.ndarray, '_ _'] | None]:
    """An image and its label map, at least a block large: below and to the right their mirror image, labelled NODATA.

    An image without a label map that is too small gets one, VOID where the image is. What a network sees in the added part is
    like the image, so that no edge is made of what counts nowhere.
    """
    missing = [max(0, size - length) for length in image.shape[:2]]
    if not any(missing):
        return image, label
    label = np.full(image.shape[:2], VOID, np.uint8) if label is None else label
    below, right = ((0, count) for count in missing)
    return (
        np.pad(image, (below, right, (0, 0)), mode='symmetric'),
        np.pad(label, (below, right), constant_values=NODATA),
    )


def _starts(length: int, size: int, edges: str) -> list[int]:
    if edges == 'drop':
        return list(range(0, length - size + 1, size))
    count = -(-length // size)
    return [round(start) for start in np.linspace(0, length - size, count)]
