"""Clusters from features: k-means for methods that learn no clusters of their own."""

from collections.abc import Callable, Iterable

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Key

from ar_seg_jax import layers
from ar_seg_jax.interfaces import Batch
from ar_seg_jax.objectives import clustering

_VECTORS_OF_BATCH = 2500  # features of each batch that k-means sees


def centroids(
    features: Callable[[Batch], Float[Array, 'batch height width channels']],
    batches: Iterable[Batch],
    like: Float[Array, 'clusters channels'],
    *,
    key: Key[Array, ''],
) -> Float[Array, 'clusters channels']:
    """Centroids by k-means, a few starts, of features at places drawn from the batches, in the form and on the devices of `like`.

    The papers do not say how features become clusters.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    drawn = []
    for batch in batches:
        maps = multihost_utils.process_allgather(features(batch), tiled=True)
        vectors = maps.reshape(-1, maps.shape[-1])
        drawn.append(rng.choice(vectors, min(_VECTORS_OF_BATCH, len(vectors)), replace=False))
    found = clustering.find_centroids(np.concatenate(drawn), len(like), int(rng.integers(2**31)))
    # Processes on unlike hosts may differ in the last bit, and all must go on with the same.
    return jax.device_put(multihost_utils.broadcast_one_to_all(found), like.sharding)


def scores(
    centroids: Float[Array, 'clusters channels'],
    maps: Float[Array, 'batch map_height map_width channels'],
    output_stride: int,
    height: int,
    width: int,
) -> Float[Array, 'batch {height} {width} clusters']:
    """Scores of clusters at each pixel, highest for the centroid that is nearest to its interpolated features."""
    nearness = clustering.nearness(centroids, maps)  # linear in the features, so interpolation may follow
    return nn.softmax(layers.upsample(nearness, output_stride, height, width))
