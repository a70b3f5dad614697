"""Pixels that do not count, at the resolution of feature maps."""

import jax.numpy as jnp
from jaxtyping import Array, Bool

from ar_seg_jax.interfaces import Batch


def at_cells(batch: Batch, height: int, width: int) -> Bool[Array, 'batch {height} {width}']:
    """Whether the cells of maps of this size count: as the pixel at the corner of a cell does.

    That is the centre of a cell where pixel stride * i is in the middle of what cell i sees, as with all our stems.
    """
    images, *size, _ = batch['image'].shape
    if 'mask' not in batch:
        return jnp.ones((images, height, width), bool)
    rows, columns = (jnp.arange(cells) * length // cells for cells, length in zip((height, width), size, strict=True))
    return batch['mask'][:, rows][:, :, columns]
