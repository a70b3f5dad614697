"""The smoothness term, which sees no pairs, against a loop over all of them."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from ar_seg_jax.objectives import smoothness
from ar_seg_jax.objectives.smoothness import Moments


def _maps(seed, counts=1.0):
    rng = np.random.default_rng(seed)
    features = 0.5 + rng.normal(size=(3, 4, 5, 6))
    return features, softmax(3 * rng.normal(size=(3, 4, 5, 2)), axis=-1), rng.random((3, 4, 5)) < counts


def _moments(maps):
    features, probabilities, counted = maps
    return Moments.of_maps(jnp.asarray(features, jnp.float32), jnp.asarray(probabilities, jnp.float32), jnp.asarray(counted))


def _by_pairs(first, second, shift):
    """The mean over pairs of places, of which the table of an image is one of its places times those of the other image."""
    tables = []
    for (f, p, own), (g, q, others) in zip(zip(*first, strict=True), zip(*second, strict=True), strict=True):
        vectors = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (f[own], g[others], p[own], q[others])]
        tables.append([[(a @ b, c @ d) for b, d in zip(*vectors[1::2], strict=True)] for a, c in zip(*vectors[::2], strict=True)])
    mean = np.mean(np.concatenate([np.reshape(table, (-1, 2)) for table in tables if np.size(table)])[:, 0])
    energies = [
        (like - np.mean([other for other, _ in row]) + mean - shift) * (1 - alike)
        for table in tables
        for row in table
        for like, alike in row
    ]
    return np.mean(energies)


@pytest.mark.parametrize(('counts', 'shift'), [(1.0, 0.0), (1.0, 0.5), (0.6, -0.02)])
def test_it_is_that_of_all_pairs_of_an_image_and_of_two(counts, shift):
    one, other = _maps(0, counts), _maps(1, counts)
    for pair in ((one, one), (one, other)):
        found = smoothness.energy(*map(_moments, pair), shift)
        np.testing.assert_allclose(found, _by_pairs(*pair, shift), rtol=1e-4, atol=1e-5)


def test_images_in_which_nothing_counts_have_no_part():
    one, other = _maps(0), _maps(1)
    one[2][1] = other[2][2] = False
    found = smoothness.energy(_moments(one), _moments(other), 0.3)
    np.testing.assert_allclose(found, _by_pairs(one, other, 0.3), rtol=1e-4, atol=1e-5)
    one[2][:] = False
    assert smoothness.energy(_moments(one), _moments(other), 0.3) == 0


def test_clusters_that_follow_the_features_have_the_lowest_energy():
    """Two kinds of places, as like as 1 and as unlike as 0, whose clusters are right, all one, or drawn."""
    kinds = np.random.default_rng(0).integers(0, 2, (3, 4, 5))
    features, counted = np.eye(2)[kinds], np.ones((3, 4, 5), bool)
    right, one, drawn = np.eye(2)[1 - kinds], np.eye(2)[0 * kinds], np.eye(2)[np.random.default_rng(1).integers(0, 2, (3, 4, 5))]
    energies = [
        float(smoothness.energy(moments, moments, 0.5))
        for moments in (_moments((features, p, counted)) for p in (right, one, drawn))
    ]
    assert energies[0] < energies[1] == pytest.approx(0, abs=1e-5) and energies[0] < energies[2]
