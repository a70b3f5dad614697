"""Cross-entropy with the labels of clusters, in nats, and what to know about these labels.

What is computed of images are sums for each of them, so that a batch may be computed in parts; the means are those of all pixels.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ar_seg_jax.interfaces import Remark
from ar_seg_jax.objectives import clustering

Balance = Literal['none', 'inverse', 'frequency']
Labels = Int[Array, 'batch height width']
Counted = Bool[Array, 'batch height width']


class Sums(NamedTuple):
    """Of each image: the weighted cross-entropies of its places, and their weights."""

    losses: Float[Array, 'batch']
    weights: Float[Array, 'batch']

    def mean(self) -> Float[Array, '']:
        """Over all places that count; 0 where none does."""
        return self.losses.sum() / jnp.maximum(self.weights.sum(), _SMALLEST)


class Statistics(NamedTuple):
    """Of each image: how many of its places have each label, and the sum of their squared distances to the centroid."""

    counts: Float[Array, 'batch clusters']
    distances: Float[Array, 'batch']


_SMALLEST = 1e-12
# Logits of 128 images with 80 x 80 places and so many clusters are 3.3 GB. Caron et al. 2018 have 10 000, but of images, each
# with one row of logits.
MOST_CLUSTERS = 1000


def class_weights(sizes: Float[Array, 'clusters'], balance: Balance) -> Float[Array, 'clusters']:
    """The weight of a pixel by the size of its cluster.

    'inverse': all clusters count alike, as if images were drawn uniformly from them (Caron et al. 2018, section 3.3); those that
    were empty do not count. 'frequency': the share of the cluster, so that frequent ones count as its square; that is
    what the released code of PiCIE does. 'none': all pixels count alike.
    """
    if balance == 'none':
        return jnp.ones_like(sizes)
    shares = sizes / jnp.maximum(sizes.sum(), 1)
    if balance == 'frequency':
        return shares
    return jnp.where(sizes > 0, 1 / (len(sizes) * jnp.maximum(shares, _SMALLEST)), 0)


def cross_entropy(
    logits: Float[Array, 'batch height width clusters'], labels: Labels, weights: Float[Array, 'clusters'], counted: Counted
) -> Sums:
    """The parts of sum(w_y * -log p_y) / sum(w_y) over the places that count."""
    found = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)[..., 0]
    weights = weights[labels] * counted
    return Sums(-jnp.sum(weights * found, (1, 2)), weights.sum((1, 2)))


def statistics(
    vectors: Float[Array, 'batch height width channels'],
    labels: Labels,
    centroids: Float[Array, 'clusters channels'],
    counted: Counted,
) -> Statistics:
    """What `metrics` are made of, from what was labelled.

    Whole numbers are counted, whose sums are the same in any order, as scattered ones come on a GPU.
    """
    images = jnp.arange(len(labels))[:, None, None]
    counts = jnp.zeros((len(labels), len(centroids)), jnp.int32).at[images, labels].add(counted.astype(jnp.int32))
    distances = jnp.sum((vectors - centroids[labels]) ** 2, axis=-1)
    return Statistics(counts.astype(jnp.float32), jnp.sum(distances * counted, (1, 2)))


def metrics(found: Statistics) -> dict[str, Float[Array, '']]:
    """Of the labels of a batch: the entropy of how they are distributed and the most it can be, in nats; the share of clusters
    that none has; the mean squared distance to the centroid, which goes to 0 when features collapse."""
    counts = found.counts.sum(0)
    total = jnp.maximum(counts.sum(), 1)
    shares = counts / total
    return {
        'label_entropy': -jnp.sum(jax.scipy.special.xlogy(shares, shares)),
        'label_entropy_bound': jnp.log(float(len(counts))),
        'empty_clusters': jnp.mean(counts == 0),
        'label_distance': found.distances.sum() / total,
    }


def in_words(scalars: Mapping[str, float]) -> Remark:
    """What people should read of `metrics`."""
    entropy, bound = scalars['label_entropy'], scalars['label_entropy_bound']
    words = (
        f'H(labels) {entropy:.3f} of at most {bound:.3f} nats  {scalars["empty_clusters"]:.0%} of clusters empty  '
        f'distance {scalars["label_distance"]:.4f}'
    )
    advice = 'another seed, a lower learning rate or weights that do not favour large clusters'
    return clustering.remark(words, entropy, bound, advice)
