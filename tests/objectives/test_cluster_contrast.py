"""The contrast of places with clusters, by a loop over places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.errors import UserError
from ar_seg_jax.objectives.cluster_contrast import ClusterContrast


def _views(seed=0, batch=2, height=3, width=4, depth=5, clusters=3):
    """Features and clusters of both views, in double precision."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, batch, height, width, depth))
    scores = np.exp(2 * rng.normal(size=(2, batch, height, width, clusters)))
    return tuple(features), tuple(scores / scores.sum(-1, keepdims=True))


def _slow(features, clusters, mask, temperature):
    """InfoNCE of each place of one view with the K vectors of the other, and the other way round."""
    directions = []
    for view, other in ((0, 1), (1, 0)):
        losses = []
        vectors = []
        for k in range(clusters[0].shape[-1]):
            places = list(zip(*np.nonzero(mask), strict=True))
            vector = sum(clusters[view][place][k] * features[view][place] for place in places)
            vectors.append(vector / np.linalg.norm(vector))
        for place in zip(*np.nonzero(mask), strict=True):
            feature = features[other][place] / np.linalg.norm(features[other][place])
            similar = np.array([np.exp(feature @ vector / temperature) for vector in vectors])
            losses.append(-sum(clusters[other][place] * np.log(similar / similar.sum())))
        directions.append(np.mean(losses))
    return np.mean(directions)


def _single(views):
    return tuple(jnp.asarray(one, jnp.float32) for one in views)


@pytest.mark.parametrize('temperature', [1.0, 0.1])
@pytest.mark.parametrize('masked', [False, True])
def test_the_loss_is_that_of_a_loop_over_places(temperature, masked):
    features, clusters = _views()
    mask = np.random.default_rng(1).uniform(size=(2, 3, 4)) > (0.4 if masked else -1)
    expected = _slow(features, clusters, mask, temperature)
    loss, bound = jax.jit(ClusterContrast(temperature))(_single(features), _single(clusters), mask)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(bound, np.log(3) - expected, rtol=1e-4, atol=1e-6)


def test_features_that_tell_clusters_apart_reach_the_bound_and_those_that_do_not_have_nothing():
    clusters = jax.nn.one_hot(jnp.arange(12).reshape(1, 3, 4) % 3, 3)
    mask = jnp.ones((1, 3, 4), bool)
    bound = ClusterContrast(0.05)((clusters, clusters), (clusters, clusters), mask)[1]
    np.testing.assert_allclose(bound, np.log(3), rtol=1e-5)
    same = jnp.ones((1, 3, 4, 5))
    np.testing.assert_allclose(ClusterContrast(0.05)((same, same), (clusters, clusters), mask)[1], 0, atol=1e-5)


def test_gradients_are_finite_where_features_are_zero_and_where_no_place_counts():
    features, clusters = map(_single, _views())
    dead = (features[0].at[0].set(0), features[1].at[:, 0].set(0))

    def loss(features, clusters, mask):
        return ClusterContrast(0.1)(features, clusters, mask)[0]

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    every, none = jnp.ones((2, 3, 4), bool), jnp.zeros((2, 3, 4), bool)
    for given in (dead, (jnp.zeros_like(features[0]),) * 2):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(given, clusters, every)))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient(features, clusters, none)))


@pytest.mark.parametrize('temperature', [0.0, -1.0, float('nan')])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(UserError, match=r'^method\.temperature is above 0, found '):
        ClusterContrast(temperature)
