"""The smoothness term of SmooSeg: places with like features should have like clusters, others need not.

For the places i of one image and j of another, with features f and g of length 1, and probabilities of clusters p and q divided
by their length, the term is the mean over all pairs of (F_ij - shift) * (1 - p_i . q_j). F_ij is f_i . g_j, without its mean
over j, and with its mean over all pairs of all images instead (Lan et al. 2023; the released code centres it so).

Being linear in F_ij and in p_i . q_j, it needs no table of pairs: the sum over pairs of f_i . (g_j - mean of g) * p_i . q_j is
the inner product of the matrices sum_i f_i p_i^T and sum_j (g_j - mean of g) q_j^T, of as many numbers as there are channels
times clusters. So nothing but these is kept of an image, or goes from one device to another.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ar_seg_jax.objectives import clustering


class Moments(NamedTuple):
    """Of the places of each image that count: their number, the mean of the features, the sum of the clusters, and the sum of the
    products of the features, without their mean, with the clusters. Both are of length 1."""

    count: Float[Array, 'batch']
    features: Float[Array, 'batch channels']
    clusters: Float[Array, 'batch clusters']
    products: Float[Array, 'batch channels clusters']

    @classmethod
    def of_maps(
        cls,
        features: Float[Array, 'batch height width channels'],
        probabilities: Float[Array, 'batch height width clusters'],
        counted: Bool[Array, 'batch height width'],
    ) -> 'Moments':
        """From features of any length and probabilities of clusters; where nothing counts all of it is 0."""
        weights = counted[..., None].astype(jnp.float32)
        count = weights.sum((1, 2, 3))
        features = clustering.unit(features.astype(jnp.float32))
        clusters = clustering.unit(probabilities) * weights
        mean = jnp.sum(features * weights, (1, 2)) / jnp.maximum(count, 1)[:, None]
        products = jnp.einsum('bhwc,bhwk->bck', features - mean[:, None, None], clusters, precision='highest')
        return cls(count, mean, clusters.sum((1, 2)), products)


def energy(first: Moments, second: Moments, shift: float) -> Float[Array, '']:
    """The term for pairs of an image of `first` with the one of `second` at the same place of the batch.

    It is the mean over all pairs of places that count, of all images. shift: how alike features are from which on clusters are
    drawn together, and below which they are driven apart.
    """
    pairs = first.count * second.count
    total = jnp.maximum(pairs.sum(), 1)
    likeness = jnp.sum(pairs * jnp.sum(first.features * second.features, -1)) / total
    uncentred = first.products + first.features[..., None] * first.clusters[:, None]
    alike = jnp.sum(first.clusters * second.clusters, -1)
    of_images = (likeness - shift) * (pairs - alike) - jnp.sum(uncentred * second.products, (1, 2))
    return of_images.sum() / total
