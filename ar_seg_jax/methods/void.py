"""Pixels that do not count, at the resolution of feature maps."""

import jax.numpy as jnp
from jaxtyping import Array, Bool

from ar_seg_jax.interfaces import Batch, counted


def at_cells(batch: Batch, height: int, width: int) -> Bool[Array, 'batch {height} {width}']:
    """Whether the cells of maps of this size count: as the pixel at the corner of a cell does.

    That is the centre of a cell where pixel stride * i is in the middle of what cell i sees, as with all our stems.
    """
    mask = jnp.asarray(counted(batch))
    rows, columns = (jnp.arange(cells) * length // cells for cells, length in zip((height, width), mask.shape[1:], strict=True))
    return mask[:, rows][:, :, columns]
