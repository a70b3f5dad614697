"""k-means on the devices: of the vectors of many batches, then moved by one batch after another.

Everything follows from the key and the vectors, on any number of devices up to the order of sums. Sums are products of matrices,
because those of scattered vectors come in any order on a GPU.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ar_seg_jax.errors import UserError
from ar_seg_jax.objectives import clustering

_SPLIT = 1 / 1024  # by how much of itself each channel of the two halves of a split cluster is moved apart


class Block(NamedTuple):
    """Vectors of a batch, and which of them count."""

    vectors: Float[Array, 'images places channels']
    counted: Bool[Array, 'images places']


class Clusters(NamedTuple):
    """Centroids, and how many vectors each has been given so far: float32, as these may be more than 32 bits can count."""

    centroids: Float[Array, 'clusters channels']
    sizes: Float[Array, 'clusters']


def find(blocks: Sequence[Block], num_clusters: int, iterations: int, key: Key[Array, '']) -> Clusters:
    """Lloyd's algorithm from vectors that are drawn at random, as faiss does it (Johnson et al. 2017; the defaults of DeepCluster
    and PiCIE): so many iterations, after each of which clusters without a vector are split off others, see `split_empty`.

    Blocks of one shape are compiled once, however many they are. UserError for fewer vectors than clusters.
    """
    draw_key, split_key = jax.random.split(key)
    centroids = _drawn(blocks, num_clusters, draw_key)
    for iteration in range(iterations):
        centroids = _next(centroids, _totals(centroids, blocks), jax.random.fold_in(split_key, iteration))
    return Clusters(centroids, _totals(centroids, blocks)[1])


@jax.jit
def update(clusters: Clusters, block: Block) -> Clusters:
    """One step of mini-batch k-means (Sculley 2010, a batch at a time): vectors go to their nearest centroid, and each centroid
    moves towards the mean of those it got, by their share n_k / N_k in all that it ever got. Those that got none stay."""
    sums, counts = _added((jnp.zeros_like(clusters.centroids), jnp.zeros_like(clusters.sizes)), clusters.centroids, block)
    sizes = clusters.sizes + counts
    rates = counts / jnp.maximum(sizes, 1)
    return Clusters(clusters.centroids + rates[:, None] * (_means(sums, counts) - clusters.centroids), sizes)


def split_empty(clusters: Clusters, key: Key[Array, '']) -> Clusters:
    """Each cluster without a vector becomes a half of another one.

    That one is drawn with probability (n - 1) / (N - K), for n of its N vectors and K clusters. Both halves get its centroid,
    with the even channels of one and the odd channels of the other longer by a thousandth, and the rest shorter, and half of its
    size. faiss tries one cluster after the other, from the first on, until one is accepted with this probability, which prefers
    the first ones; here it is drawn from all at once.
    """
    apart = jnp.where(jnp.arange(clusters.centroids.shape[1]) % 2, -_SPLIT, _SPLIT)

    def split(number, clusters):
        centroids, sizes = clusters
        donor = jax.random.categorical(jax.random.fold_in(key, number), jnp.log(jnp.maximum(sizes - 1, 0)))
        centroid, half = centroids[donor], sizes[donor] / 2
        halves = Clusters(
            centroids.at[donor].set(centroid * (1 - apart)).at[number].set(centroid * (1 + apart)),
            sizes.at[donor].set(half).at[number].set(half),
        )
        return jax.tree.map(lambda new, old: jnp.where(sizes[number] == 0, new, old), halves, clusters)

    return jax.lax.fori_loop(0, len(clusters.sizes), split, clusters)


def _totals(centroids, blocks: Sequence[Block]):
    """Sums of the vectors that are nearest to each centroid, and their number."""
    totals = jnp.zeros_like(centroids), jnp.zeros(len(centroids))
    for block in blocks:
        totals = _added(totals, centroids, block)
    return totals


@jax.jit
def _added(totals, centroids, block: Block):
    labels = clustering.nearest(centroids, block.vectors)
    chosen = ((labels[..., None] == jnp.arange(len(centroids))[None, None]) & block.counted[..., None]).astype(jnp.float32)
    sums = jnp.einsum('ipk,ipc->kc', chosen, block.vectors, precision='highest')
    return totals[0] + sums, totals[1] + chosen.sum((0, 1))


@jax.jit
def _next(centroids, totals, key):
    sums, sizes = totals
    moved = jnp.where(sizes[:, None] > 0, _means(sums, sizes), centroids)
    return split_empty(Clusters(moved, sizes), key).centroids


def _means(sums, counts):
    return sums / jnp.maximum(counts, 1)[:, None]


def _drawn(blocks: Sequence[Block], count: int, key: Key[Array, '']) -> Float[Array, '{count} channels']:
    """So many of the vectors that count, each at most once."""
    chosen = jnp.full(count, -1.0), jnp.zeros((count, blocks[0].vectors.shape[-1]))
    for number, block in enumerate(blocks):
        chosen = _highest(chosen, block, jax.random.fold_in(key, number))
    lots, vectors = chosen
    if (lots < 0).any():
        raise UserError(f'k-means: {int((lots >= 0).sum())} vectors are fewer than {count} clusters')
    return vectors


@jax.jit
def _highest(chosen, block: Block, key):
    """Those with the highest lots among the vectors that were `chosen` before and those of a block."""
    lots = jnp.where(block.counted, jax.random.uniform(key, block.counted.shape), -1.0)
    lots = jnp.concatenate([chosen[0], lots.ravel()])
    vectors = jnp.concatenate([chosen[1], block.vectors.reshape(-1, block.vectors.shape[-1])])
    best, places = jax.lax.top_k(lots, len(chosen[0]))
    return best, vectors[places]
