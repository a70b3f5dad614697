"""A model that can be computed by hand: each cell is a linear map of the one pixel at its centre. And its views, by a loop."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from ar_seg_jax import layers
from ar_seg_jax.interfaces import Normalisation


class Cells(nn.Module):
    """A 1x1 convolution with a stride of 2; its heads are linear maps of the same pixel."""

    heads: Mapping[str, int]

    output_stride = 2
    first_cell = 0.0
    reach = 2
    normalisation = Normalisation()
    dtype = jnp.float32

    @nn.compact
    def __call__(self, image, *, train=False):
        x = nn.Dense(4, name='features')(image[:, ::2, ::2])
        return {'features': x, **{name: nn.Dense(width, name=name)(x) for name, width in self.heads.items()}}

    @nn.nowrap
    def to_pixels(self, maps, height, width):
        return layers.upsample(maps, 2, height, width)


def by_hand(params, image, crops, view, length=1):
    """Vectors, (images, rows, columns, 4), of the first or second view of images whose colours stay; None leaves their lengths.

    Parts are taken of pixels for the first view and of cells for the second one, by scipy.
    """
    kernel, bias = (np.asarray(params['features'][name]) for name in ('kernel', 'bias'))
    found = []
    for index, pixels in enumerate(np.float64(image) / 255):
        part = jax.tree.map(lambda leaf: np.asarray(leaf)[index], crops)  # noqa: B023
        height, width = pixels.shape[:2]
        rows, columns = np.arange(0, height, 2), np.arange(0, width, 2)  # of the part, where its cells look
        columns = width - 1 - columns if part.flipped else columns
        places = _inside(rows, part.top, part.height, height), _inside(columns, part.left, part.width, width)
        if view == 'first':
            vectors = _interpolated(pixels, *places) @ kernel + bias
        else:
            vectors = _interpolated(pixels[::2, ::2] @ kernel + bias, *(each / 2 for each in places))
        found.append(vectors if length is None else length * vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
    return np.stack(found)


def _inside(pixels, start, share, length):
    """Where pixels of a part, in the size of the whole, are in the image."""
    return (pixels + 0.5) * share + start * length - 0.5


def _interpolated(maps, rows, columns):
    grid = np.meshgrid(rows, columns, indexing='ij')
    return np.stack([ndimage.map_coordinates(plane, grid, order=1, mode='nearest') for plane in np.moveaxis(maps, -1, 0)], -1)


def label_entropy(logits, classes, weights, counted):
    """The weighted mean of cross-entropies, by a loop."""
    losses = total = 0.0
    for place in zip(*np.nonzero(counted), strict=True):
        exponentials = np.exp(logits[place])
        losses -= weights[classes[place]] * np.log(exponentials[classes[place]] / exponentials.sum())
        total += weights[classes[place]]
    return losses / total


def nearest(centroids, vectors):
    """The nearest centroid of each vector, from all distances."""
    return np.argmin(np.linalg.norm(vectors[..., None, :] - np.asarray(centroids), axis=-1), axis=-1)
