"""Mixtures of Gaussians against scikit-learn, scipy and loops in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp, softmax
from sklearn.mixture import GaussianMixture

from ar_seg_jax.objectives.gaussian_mixture import Components, Moments

FLOOR = 1e-4  # variance that each component has in all directions
SHARES = np.array([0.6, 0.3, 0.1])
CENTRES = np.array([[0.0, 0.0, 0.0], [1.5, -1.0, 0.5], [-1.0, 2.0, 1.0]])


def _drawn(seed=0, images=4, places=60):
    """Vectors of three long Gaussians, how likely each is to be of each of them, at random, and which of them count."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(3, (images, places), p=SHARES)
    stretch = rng.normal(scale=0.5, size=(3, 3, 3))
    vectors = CENTRES[kinds] + np.einsum('ipc,ipcd->ipd', rng.normal(size=(images, places, 3)), stretch[kinds])
    memberships = rng.dirichlet(np.ones(3), (images, places))
    counted = rng.random((images, places)) < 0.7
    return vectors.astype(np.float32), memberships.astype(np.float32), counted


def _components(vectors, memberships, counted, shrinkage=0.0):
    """As they are computed in training."""
    return Components.from_moments(Moments.from_vectors(*map(jnp.asarray, (vectors, memberships, counted))), shrinkage)


def _by_loops(vectors, memberships, counted):
    """Shares, means and covariances of the vectors that count, one after the other."""
    own = [(x, m) for x, m in zip(np.float64(vectors[counted]), np.float64(memberships[counted]), strict=True)]
    shares, means, covariances = np.zeros(3), np.zeros((3, 3)), np.zeros((3, 3, 3))
    for k in range(3):
        total = sum(m[k] for _, m in own)
        shares[k] = total / len(own)
        means[k] = sum(m[k] * x for x, m in own) / total
        covariances[k] = sum(m[k] * np.outer(x - means[k], x - means[k]) for x, m in own) / total
    return shares, means, covariances


def _covariances(components):
    factors = np.float64(components.inverse_factors)
    return np.linalg.inv(np.swapaxes(factors, 1, 2) @ factors)


def _log_joint(vectors, shares, means, covariances):
    """By scipy: (..., components)."""
    parts = [
        np.log(share) + stats.multivariate_normal(mean, covariance).logpdf(vectors)
        for share, mean, covariance in zip(shares, means, covariances, strict=True)
    ]
    return np.stack(parts, axis=-1)


@pytest.mark.parametrize('shrinkage', [0.0, 0.3])
def test_components_are_those_of_a_loop_over_the_vectors_that_count(shrinkage):
    vectors, memberships, counted = _drawn()
    shares, means, covariances = _by_loops(vectors, memberships, counted)
    pooled = sum(share * covariance for share, covariance in zip(shares, covariances, strict=True))
    covariances = np.stack([(1 - shrinkage) * own + shrinkage * pooled + FLOOR * np.eye(3) for own in covariances])
    found = _components(vectors, memberships, counted, shrinkage)
    np.testing.assert_allclose(found.log_shares, np.log(shares), rtol=1e-4)
    np.testing.assert_allclose(found.means, means, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(_covariances(found), covariances, rtol=1e-3, atol=1e-4)
    expected = _log_joint(vectors, shares, means, covariances)
    np.testing.assert_allclose(found.log_joint(jnp.asarray(vectors)), expected, rtol=1e-3, atol=1e-3)


def test_a_step_is_that_of_scikit_learn():
    """With its floor of variances; vectors that do not count are not shown to it."""
    vectors, memberships, counted = _drawn()
    begun = _components(vectors, memberships, counted)
    precisions = np.linalg.inv(_covariances(begun))
    reference = GaussianMixture(
        3,
        reg_covar=FLOOR,
        max_iter=1,
        weights_init=np.exp(begun.log_shares) / np.exp(begun.log_shares).sum(),
        means_init=begun.means,
        precisions_init=(precisions + np.swapaxes(precisions, 1, 2)) / 2,
    )
    with pytest.warns(match='did not converge'):
        reference.fit(np.float64(vectors[counted]))
    found = _components(vectors, jax.nn.softmax(begun.log_joint(jnp.asarray(vectors))), counted)
    np.testing.assert_allclose(np.exp(found.log_shares), reference.weights_, rtol=1e-3)
    np.testing.assert_allclose(found.means, reference.means_, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(_covariances(found), reference.covariances_, rtol=1e-3, atol=1e-3)
    likelihoods = logsumexp(found.log_joint(jnp.asarray(vectors)), axis=-1)
    np.testing.assert_allclose(likelihoods, reference.score_samples(vectors.reshape(-1, 3)).reshape(4, 60), rtol=1e-3, atol=1e-3)


def test_a_shrinkage_of_one_gives_all_the_same_shape():
    drawn = _drawn()
    shares, _, covariances = _by_loops(*drawn)
    pooled = np.einsum('k,kcd->cd', shares, covariances) + FLOOR * np.eye(3)
    assert np.abs(covariances - pooled).max() > 0.1
    found = _covariances(_components(*drawn, shrinkage=1.0))
    np.testing.assert_allclose(found, np.broadcast_to(pooled, (3, 3, 3)), rtol=1e-4, atol=1e-5)


def test_steps_raise_the_likelihood():
    """Monotone but for the floor of variances and rounding."""
    vectors, memberships, counted = _drawn(places=200)
    likelihoods = []
    for _ in range(15):
        components = _components(vectors, memberships, counted)
        joint = np.float64(components.log_joint(jnp.asarray(vectors)))
        likelihoods.append(logsumexp(joint, axis=-1)[counted].mean())
        memberships = softmax(joint, axis=-1)
    assert (np.diff(likelihoods) > -1e-5).all() and likelihoods[-1] > likelihoods[0] + 0.1


@pytest.mark.parametrize('share', [0.0, 1e-9, 1e-5])
@pytest.mark.parametrize('shrinkage', [0.0, 0.3, 1.0])
def test_a_component_of_nearly_no_share_stays_finite_and_unlikely(share, shrinkage):
    vectors, memberships, counted = _drawn()
    memberships = np.stack([np.ones((4, 60)), np.zeros((4, 60)), np.full((4, 60), share)], -1).astype(np.float32)
    found = _components(vectors, memberships, counted, shrinkage)
    joint = np.asarray(found.log_joint(jnp.asarray(vectors)))
    assert all(np.isfinite(part).all() for part in (*found, joint))
    np.testing.assert_allclose(softmax(joint, axis=-1)[counted].mean(0), [1, 0, 0], atol=1e-2)


def test_vectors_that_are_all_alike_and_none_at_all_give_finite_components():
    vectors, memberships, counted = _drawn()
    for alike, counts in ((np.ones_like(vectors), counted), (vectors, np.zeros_like(counted))):
        found = _components(alike, memberships, counts)
        assert all(np.isfinite(part).all() for part in (*found, found.log_joint(jnp.asarray(alike))))


@pytest.mark.parametrize('distance', [30.0, 100.0])
def test_a_small_component_far_away_has_a_covariance_in_spite_of_rounding(distance):
    """One vector in so many that the variance of all of them is 1: few white pixels in images that are black."""
    count = round(distance**2)
    vectors = np.zeros((1, count, 3), np.float32)
    vectors[:, 0] = distance
    vectors -= vectors.mean(axis=1, keepdims=True)
    memberships = np.zeros((1, count, 2), np.float32)
    memberships[:, 0, 0], memberships[:, 1:, 1] = 1, 1
    found = _components(vectors, memberships, np.ones((1, count), bool))
    joint = np.asarray(found.log_joint(jnp.asarray(vectors)))
    assert all(np.isfinite(part).all() for part in (*found, joint))
    np.testing.assert_array_equal(joint.argmax(-1), memberships.argmax(-1))


def test_moments_of_nothing_are_equal_components_around_zero():
    found = Components.from_moments(Moments.initial(4, 3), 0.0)
    np.testing.assert_allclose(found.log_shares, np.log(np.full(4, 1 / 4)), rtol=1e-6)
    np.testing.assert_array_equal(found.means, np.zeros((4, 3)))
    np.testing.assert_allclose(_covariances(found), np.tile((1 + FLOOR) * np.eye(3), (4, 1, 1)), rtol=1e-5)


def test_a_step_goes_so_far_towards_other_moments():
    vectors, memberships, counted = map(jnp.asarray, _drawn())
    first, second = (Moments.from_vectors(vectors, part, counted) for part in (memberships, memberships[..., ::-1]))
    for rate in (0.0, 0.25, 1.0):
        for old, new, found in zip(first, second, first.moved_towards(second, jnp.float32(rate)), strict=True):
            np.testing.assert_allclose(found, (1 - rate) * np.asarray(old) + rate * np.asarray(new), rtol=1e-5, atol=1e-6)


def test_channels_that_are_not_the_components_own_have_one_covariance_and_none_with_the_others():
    rng = np.random.default_rng(5)
    vectors, memberships = rng.normal(size=(1, 60, 5)), rng.dirichlet([0.3, 0.3], size=(1, 60))
    moments = Moments.from_vectors(jnp.float32(vectors), jnp.float32(memberships), jnp.ones((1, 60), bool))
    inverse_factors = np.float64(Components.from_moments(moments, 0.25, full_channels=2).inverse_factors)
    found = np.linalg.inv(inverse_factors.swapaxes(1, 2) @ inverse_factors)
    own = []
    for weights in memberships[0].T:
        own.append(np.cov(vectors[0].T, aweights=weights, bias=True))
    pooled = sum(share * covariance for share, covariance in zip(memberships[0].mean(0), own, strict=True))
    for one, covariance in zip(found, own, strict=True):
        expected = np.zeros((5, 5))
        expected[:2, :2] = 0.75 * covariance[:2, :2] + 0.25 * pooled[:2, :2]
        expected[2:, 2:] = pooled[2:, 2:]
        np.testing.assert_allclose(one, expected, atol=1e-3)
