"""Pixels that do not count: those of a batch, at the resolution of feature maps, and those near the borders of crops."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from ar_seg_jax.errors import UserError
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


def check_margin(margin: int, displacement: int, height: int, width: int):
    """UserError unless pairs of pixels are left within images of this size."""
    if margin < 0 or min(height, width) - 2 * margin <= displacement:
        raise UserError(
            f'method.margin is at least 0 and leaves more than method.displacement = {displacement} pixels of a crop of '
            f'{width} x {height} between both borders; found {margin}'
        )


def inside(batch: Batch, margin: int) -> Bool[Array, 'batch height width'] | None:
    """Whether pixels count: not those that do not anyway, nor those less than `margin` pixels from a border; None if all do."""
    if not margin:
        return batch.get('mask')
    images, height, width, _ = batch['image'].shape
    core = jnp.zeros((images, height, width), bool).at[:, margin : height - margin, margin : width - margin].set(True)
    return core & batch['mask'] if 'mask' in batch else core


def _centres(cells: int, length: int, first_cell: float | None) -> np.ndarray:
    """The pixels of cells along one side."""
    stride = length / cells
    first = (stride - 1) / 2 if first_cell is None else first_cell
    return np.clip(np.floor(first + stride * np.arange(cells)), 0, length - 1).astype(np.int32)
