"""STEGO's loss: codes of places should be alike where the features of a frozen encoder are (Hamilton et al. 2022)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ar_seg_jax import parallel
from ar_seg_jax.objectives import clustering

_WHOLE = 0.999  # of the weights of the cells that a point is interpolated from


class Points(NamedTuple):
    """What is at some points of each image: features and codes of length 1, and whether the points count."""

    features: Float[Array, 'batch points channels']
    codes: Float[Array, 'batch points width']
    counted: Bool[Array, 'batch points']

    def rolled(self, step: int) -> 'Points':
        """Of the image that is so many places further in the batch, which is a ring."""
        return jax.tree.map(lambda leaf: jnp.roll(leaf, -step, axis=0), self)

    def of_images(self, numbers: Int[Array, 'batch']) -> 'Points':
        """Of the images with these numbers, by a product: the gradient of a gather would be summed in any order on a GPU."""
        chosen = jax.nn.one_hot(numbers, len(self.counted))

        def taken(leaf):
            return jnp.einsum('ij,j...->i...', chosen, leaf.astype(jnp.float32), precision='highest')

        return Points(taken(self.features), taken(self.codes), taken(self.counted) > 0)


def sampled(
    features: Float[Array, 'batch height width channels'],
    codes: Float[Array, 'batch height width code_width'],
    counted: Bool[Array, 'batch height width'],
    points: int,
    key: Key[Array, ''],
) -> Points:
    """Maps at points that are drawn uniformly between the centres of their outermost cells, for each image by itself.

    They are interpolated bilinearly, by a product with the weights of all cells, for the reason that `Points.of_images` gives.
    A point counts where all cells do that it is interpolated from.
    """
    images, height, width, _ = codes.shape
    places = jax.vmap(lambda key: jax.random.uniform(key, (2, points)))(parallel.keys(key, images))
    rows, columns = (_weights(places[:, axis], cells) for axis, cells in enumerate((height, width)))
    weights = (rows[..., None] * columns[:, :, None]).reshape(images, points, height * width)

    def at_points(maps):
        return jnp.einsum('bpc,bcd->bpd', weights, maps.reshape(images, height * width, -1), precision='highest')

    found = (clustering.unit(at_points(maps.astype(jnp.float32))) for maps in (features, codes))
    return Points(*found, at_points(counted.astype(jnp.float32))[..., 0] > _WHOLE)


def correspondence(first: Points, second: Points, shift: float) -> Float[Array, '']:
    """The loss of images of `first` and those of `second` at the same places of the batch (Equation 4 of the paper).

    It is the mean over all pairs of points that count, of all images, of -max(S, 0) * (F - shift). S is the cosine of both codes;
    F is that of both features, without its mean over the points of the second image, and with its mean over all pairs of all
    images instead.
    """
    pairs = (first.counted[:, :, None] & second.counted[:, None]).astype(jnp.float32)
    total = jnp.maximum(pairs.sum(), 1)
    alike = _products(first.features, second.features)
    of_point = jnp.sum(alike * pairs, -1, keepdims=True) / jnp.maximum(pairs.sum(-1, keepdims=True), 1)
    centred = alike - of_point + jnp.sum(alike * pairs) / total
    found = jnp.maximum(_products(first.codes, second.codes), 0)
    return -jnp.sum(found * (centred - shift) * pairs) / total


def nearest_images(pooled: Float[Array, 'images channels']) -> Int[Array, 'images']:
    """For each image the number of the other one whose mean feature has the largest cosine with its own."""
    vectors = clustering.unit(pooled)
    likeness = jnp.matmul(vectors, vectors.T, precision='highest')
    return jnp.argmax(jnp.where(jnp.eye(len(pooled), dtype=bool), -jnp.inf, likeness), axis=-1)


def _weights(places: Float[Array, 'images points'], cells: int) -> Float[Array, 'images points {cells}']:
    """The share of each cell of a side in points, which are 0 at the centre of the first cell and 1 at that of the last."""
    return jnp.maximum(1 - jnp.abs(places[..., None] * (cells - 1) - jnp.arange(cells)[None, None]), 0)


def _products(
    one: Float[Array, 'images points _'], other: Float[Array, 'images points _']
) -> Float[Array, 'images points points']:
    return jnp.einsum('bpc,bqc->bpq', one, other, precision='highest')
