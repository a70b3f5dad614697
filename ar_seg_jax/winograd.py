"""Convolutions of 3x3 taps with 16 products for every four outputs, where sums over the taps take 36.

This is Winograd's minimal filtering F(2x2, 3x3), as Lavin and Gray (2016) use it for networks. It cuts the input into tiles of
4x4 pixels that overlap by two, and maps tiles and kernels to 16 numbers each, which need only be multiplied: 16 matrix products
over channels. All of it is sums and products, so that JAX derives the gradients, which save as much.

In float32 it is as exact as a sum over taps, to a few units in the last place: the maps only add and halve.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Maps of four pixels of an input, of three taps of a kernel, and from four products to two outputs, in one dimension.
_OF_INPUT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_OF_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_TO_OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])

_PAIR_AND_NEXT = slice(None, -1), slice(1, None)


def correlate(
    x: Float[Array, 'batch height width channels'], kernel: Float[Array, '3 3 channels features'], dilation: int = 1
) -> Float[Array, 'batch out_height out_width features']:
    """Cross-correlation wherever the whole kernel lies inside of `x`: maps that are 2 * `dilation` smaller."""
    span = 2 * dilation
    height, width = (side - span for side in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (0, -height % span), (0, -width % span), (0, 0)))
    return _joined(_correlate(_split(x, dilation), kernel), dilation)[:, :height, :width]


def _split(x, dilation: int):
    """Every `dilation`-th pixel in images of their own, so that a kernel without dilation meets the same ones."""
    batch, height, width, channels = x.shape
    parts = x.reshape(batch, height // dilation, dilation, width // dilation, dilation, channels)
    return parts.transpose(2, 4, 0, 1, 3, 5).reshape(-1, height // dilation, width // dilation, channels)


def _joined(parts, dilation: int):
    """The images that `_split` took apart."""
    _, height, width, channels = parts.shape
    parts = parts.reshape(dilation, dilation, -1, height, width, channels)
    return parts.transpose(2, 3, 0, 4, 1, 5).reshape(-1, height * dilation, width * dilation, channels)


def _correlate(x, kernel):
    """Of inputs with an even number of rows and of columns."""
    batch, height, width, channels = x.shape
    pairs = x.reshape(batch, height // 2, 2, width // 2, 2, channels)  # a tile is two of them, in rows and in columns
    rows = pairs[:, :, 0], pairs[:, :, 1]
    bands = _combined(_OF_INPUT, [row[:, part] for part in _PAIR_AND_NEXT for row in rows])
    columns = [(band[:, :, :, 0], band[:, :, :, 1]) for band in bands]
    tiles = [_combined(_OF_INPUT, [column[:, :, part] for part in _PAIR_AND_NEXT for column in both]) for both in columns]
    of_kernel = _OF_KERNEL.astype(kernel.dtype)
    kernels = jnp.einsum('ur,vs,rscf->uvcf', of_kernel, of_kernel, kernel)
    products = [[_product(tile, matrix) for tile, matrix in zip(*row, strict=True)] for row in zip(tiles, kernels, strict=True)]
    summed = [_combined(_TO_OUTPUT, column) for column in zip(*products, strict=True)]
    outputs = [jnp.stack(_combined(_TO_OUTPUT, row), axis=3) for row in zip(*summed, strict=True)]
    return jnp.stack(outputs, axis=2).reshape(batch, height - 2, width - 2, -1)


def _product(tile, matrix):
    """Over channels, with all positions in one axis: with several of them XLA transposes both factors of the gradient first."""
    return (tile.reshape(-1, tile.shape[-1]) @ matrix).reshape(*tile.shape[:-1], -1)


def _combined(weights: np.ndarray, terms: Sequence[Array]) -> list[Array]:
    """For each row of weights, which are 0, 1 and -1, the sum of the terms; what has weight 0 costs nothing."""
    return [sum(term if weight > 0 else -term for weight, term in zip(row, terms, strict=True) if weight) for row in weights]
