"""Pixels that do not count, at the resolution of feature maps."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from ar_seg_jax.interfaces import Batch


def at_cells(batch: Batch, height: int, width: int, first_cell: float | None) -> Bool[Array, 'batch {height} {width}']:
    """Whether the cells of maps of this size count: as the pixel at the centre of a cell does, or the one before where the centre
    is between two.

    first_cell: see `interfaces.Model`. Cells are taken to be as far apart as they divide the image, which is their stride where
    the sides of the image are multiples of it, and less than a cell from it elsewhere.
    """
    images, *size, _ = batch['image'].shape
    if 'mask' not in batch:
        return jnp.ones((images, height, width), bool)
    rows, columns = (_centres(cells, length, first_cell) for cells, length in zip((height, width), size, strict=True))
    return batch['mask'][:, rows][:, :, columns]


def _centres(cells: int, length: int, first_cell: float | None) -> np.ndarray:
    """The pixels of cells along one side."""
    stride = length / cells
    first = (stride - 1) / 2 if first_cell is None else first_cell
    return np.clip(np.floor(first + stride * np.arange(cells)), 0, length - 1).astype(np.int32)
