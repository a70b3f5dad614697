"""Clusters from features: k-means for methods that learn no clusters of their own."""

import functools
from collections.abc import Iterable

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Key

from ar_seg_jax.interfaces import Batch, Extra, Method, Params
from ar_seg_jax.methods import void
from ar_seg_jax.objectives import clustering

_VECTORS_OF_BATCH = 2500  # features of each batch that k-means sees


def by_k_means(method: Method, params: Params, extra: Extra, batches: Iterable[Batch], *, key: Key[Array, '']) -> Extra:
    """`extra` with 'centroids' found by k-means, a few starts, of the logits that a method predicts at places of batches.

    Of each batch 2500 places are drawn from those that count. Training gives `Feed.sample` for `batches`: its first batches, with
    their random crops. These may be a small part of the data set. The released code of PiCIE and MDC seeks the last clusters in
    the same way as those of training, in all places of all images; that of IIC draws vectors from all batches of its data set,
    see `patch_pairs.PatchPairs`.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    drawn = []
    for batch in batches:
        maps, counts = multihost_utils.process_allgather(_vectors(method, params, extra, batch), tiled=True)
        vectors = maps[counts]
        drawn.append(rng.choice(vectors, min(_VECTORS_OF_BATCH, len(vectors)), replace=False))
    before = extra['centroids']
    found = clustering.find_centroids(np.concatenate(drawn), len(before), int(rng.integers(2**31)))
    # Processes on unlike hosts may differ in the last bit, and all must go on with the same.
    return {**extra, 'centroids': jax.device_put(multihost_utils.broadcast_one_to_all(found), before.sharding)}


@functools.partial(jax.jit, static_argnums=0)
def _vectors(method: Method, params: Params, extra: Extra, batch: Batch):
    """Logits, and whether they count; compiled once for all readouts."""
    logits = method.predict(params, extra, batch['image'])['logits']
    return logits, void.at_cells(batch, *logits.shape[1:3], method.first_cell)
