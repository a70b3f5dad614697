"""k-means on the devices against slow loops: the draw, Lloyd's iterations, clusters without vectors, batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax import sharding
from ar_seg_jax.errors import UserError
from ar_seg_jax.objectives import k_means
from ar_seg_jax.objectives.k_means import Block, Clusters
from tests.support import feeds

KEY = jax.random.key(0)


def _blocks(count=3, images=8, places=6, channels=4, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Block(
            jnp.asarray(rng.normal(size=(images, places, channels)), jnp.float32),
            jnp.asarray(rng.uniform(size=(images, places)) < 0.7),
        )
        for _ in range(count)
    ]


def _that_count(blocks):
    return np.concatenate([np.asarray(block.vectors)[np.asarray(block.counted)] for block in blocks])


def _labels(vectors, centroids):
    return np.array([np.argmin([np.sum((vector - centroid) ** 2) for centroid in centroids]) for vector in vectors])


def test_it_begins_with_different_vectors_that_count_and_each_is_as_likely():
    blocks = _blocks()
    vectors = _that_count(blocks)
    drawn = []
    for seed in range(100):
        found = np.asarray(k_means.find(blocks, 10, 0, jax.random.key(seed)).centroids)
        places = [np.flatnonzero((vectors == vector).all(1)) for vector in found]
        assert all(len(place) == 1 for place in places)
        drawn.append(np.concatenate(places))
        assert len(set(drawn[-1])) == 10
    shares = np.bincount(np.concatenate(drawn), minlength=len(vectors)) / 100
    assert shares.max() < 10 / len(vectors) + 0.2 and np.mean(shares > 0) > 0.99


def test_iterations_are_those_of_a_loop():
    blocks = _blocks()
    vectors = _that_count(blocks)
    centroids = np.asarray(k_means.find(blocks, 5, 0, KEY).centroids)
    for _ in range(4):
        labels = _labels(vectors, centroids)
        centroids = np.stack([vectors[labels == cluster].mean(0) for cluster in range(5)])
    found = k_means.find(blocks, 5, 4, KEY)
    np.testing.assert_allclose(found.centroids, centroids, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.sizes, np.bincount(_labels(vectors, centroids), minlength=5))


def test_a_cluster_without_vectors_is_split_off_the_only_one_that_can_be():
    """Nine vectors near one place and one far away, in three clusters: those that begin at equal vectors get none."""
    rng = np.random.default_rng(0)
    near = np.ones((1, 9, 3), np.float32)
    near[0, 4:] += rng.normal(scale=1e-4, size=(5, 3))
    vectors = np.concatenate([near, np.full((1, 1, 3), -5, np.float32)], axis=1)
    centroids = jnp.asarray([[1, 1, 1], [1, 1, 1], [-5, -5, -5]], jnp.float32)
    sizes = np.bincount(_labels(vectors[0], np.asarray(centroids)), minlength=3)
    np.testing.assert_array_equal(sizes, [9, 0, 1])
    found = k_means.split_empty(Clusters(centroids, jnp.asarray(sizes, jnp.float32)), KEY)
    longer, shorter = 1 + 1 / 1024, 1 - 1 / 1024
    np.testing.assert_allclose(found.centroids, [[shorter, longer, shorter], [longer, shorter, longer], [-5] * 3], rtol=1e-7)
    np.testing.assert_array_equal(found.sizes, [4.5, 4.5, 1])
    # The next vectors tell the halves apart, so that all three have some in the end.
    ended = k_means.find([Block(jnp.asarray(vectors), jnp.ones((1, 10), bool))], 3, 6, KEY)
    assert float(ended.sizes.min()) > 0 and float(ended.sizes.sum()) == 10


def test_the_cluster_that_is_split_is_drawn_by_its_size_less_one():
    sizes = jnp.asarray([5, 0, 1, 15, 0.0])
    centroids = jnp.arange(1, 6, dtype=jnp.float32)[:, None] * jnp.ones((5, 4))
    split = jax.jit(jax.vmap(lambda key: k_means.split_empty(Clusters(centroids, sizes), key)))
    found = split(jax.random.split(KEY, 2000))
    first = np.round(np.asarray(found.centroids[:, 1, 0])).astype(int) - 1  # whose half the first empty cluster is
    shares = np.bincount(first, minlength=5) / 2000
    np.testing.assert_allclose(shares, [4 / 18, 0, 0, 14 / 18, 0], atol=0.04)
    np.testing.assert_allclose(found.sizes.sum(1), 21)
    assert float(found.sizes.min()) > 0


def test_a_batch_moves_centroids_by_its_share_in_all_they_were_given():
    blocks = _blocks(2)
    centroids, sizes = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32), np.array([10, 3, 0, 7.0])
    centroids[3] = 100  # no vector is nearest to it
    found = Clusters(jnp.asarray(centroids), jnp.asarray(sizes, jnp.float32))
    for block in blocks:
        found = k_means.update(found, block)
        vectors = _that_count([block])
        labels = _labels(vectors, centroids)
        for cluster in range(4):
            own = vectors[labels == cluster]
            if len(own):
                sizes[cluster] += len(own)
                centroids[cluster] += len(own) / sizes[cluster] * (own.mean(0) - centroids[cluster])
    np.testing.assert_allclose(found.centroids, centroids, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.sizes, sizes)
    assert (centroids[3] == 100).all()


def test_eight_devices_find_what_one_does():
    blocks = _blocks()
    mesh = feeds.mesh_of(8)
    there = jax.device_put(blocks, sharding.split_batch(mesh))
    for found, expected in zip(k_means.find(there, 5, 4, KEY), k_means.find(blocks, 5, 4, KEY), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_another_number_of_blocks_needs_no_compilation():
    k_means.find(_blocks(2), 3, 1, KEY)
    before = k_means.update._cache_size(), k_means._added._cache_size(), k_means._highest._cache_size()
    k_means.find(_blocks(5), 3, 4, KEY)
    assert (k_means.update._cache_size(), k_means._added._cache_size(), k_means._highest._cache_size()) == before


def test_too_few_vectors_are_an_error():
    block = Block(jnp.zeros((2, 3, 4)), jnp.asarray([[True, False, True], [False, False, True]]))
    with pytest.raises(UserError, match='k-means: 3 vectors are fewer than 4 clusters'):
        k_means.find([block], 4, 1, KEY)
