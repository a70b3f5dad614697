"""Clusters from features: k-means for methods that learn no clusters of their own."""

import functools
from collections.abc import Iterable

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Key

from ar_seg_jax import layers
from ar_seg_jax.interfaces import Batch, Extra, Method, Params
from ar_seg_jax.objectives import clustering

_VECTORS_OF_BATCH = 2500  # features of each batch that k-means sees


def by_k_means(method: Method, params: Params, extra: Extra, batches: Iterable[Batch], *, key: Key[Array, '']) -> Extra:
    """`extra` with 'centroids' found by k-means, a few starts, of the logits that a method predicts at places drawn from batches.

    The papers do not say how features become clusters.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    drawn = []
    for batch in batches:
        maps = multihost_utils.process_allgather(_logits(method, params, extra, batch['image']), tiled=True)
        vectors = maps.reshape(-1, maps.shape[-1])
        drawn.append(rng.choice(vectors, min(_VECTORS_OF_BATCH, len(vectors)), replace=False))
    before = extra['centroids']
    found = clustering.find_centroids(np.concatenate(drawn), len(before), int(rng.integers(2**31)))
    # Processes on unlike hosts may differ in the last bit, and all must go on with the same.
    return {**extra, 'centroids': jax.device_put(multihost_utils.broadcast_one_to_all(found), before.sharding)}


@functools.partial(jax.jit, static_argnums=0)
def _logits(method: Method, params: Params, extra: Extra, image):
    """Compiled once for all readouts."""
    return method.predict(params, extra, image)['logits']


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
