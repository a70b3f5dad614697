"""Whitening against scikit-learn."""

import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import PCA

from ar_seg_jax.objectives import whitening
from ar_seg_jax.objectives.k_means import Block

RNG = np.random.default_rng(0)


def test_components_are_those_of_scikit_learn_up_to_their_sign():
    mixed = RNG.normal(size=(3, 8, 10, 6)) * np.array([5, 3, 2, 1, 0.5, 0.2]) @ RNG.normal(size=(6, 6)) + 20
    counted = RNG.uniform(size=(3, 8, 10)) < 0.8
    found = whitening.find([Block(jnp.asarray(v, jnp.float32), jnp.asarray(c)) for v, c in zip(mixed, counted, strict=True)], 4)
    vectors = mixed[counted]
    pca = PCA(4, whiten=True).fit(vectors)
    expected = pca.transform(vectors) * np.sqrt(len(vectors) / (len(vectors) - 1))  # it divides by n - 1
    ours = np.asarray(found(jnp.asarray(vectors, jnp.float32)))
    signs = np.sign((ours * expected).sum(0))
    np.testing.assert_allclose(ours * signs[None], expected, rtol=1e-2, atol=5e-3)
    np.testing.assert_allclose(np.cov(ours.T, bias=True), np.eye(4), atol=2e-3)
    largest = np.abs(np.asarray(found.matrix)).argmax(0)
    assert (np.asarray(found.matrix)[largest, np.arange(4)] > 0).all()


def test_channels_that_never_change_become_no_noise():
    vectors = np.concatenate([RNG.normal(size=(2, 50, 2)), np.full((2, 50, 2), 3.0)], axis=-1)
    found = whitening.find([Block(jnp.asarray(vectors, jnp.float32), jnp.ones((2, 50), bool))], 4)
    ours = np.asarray(found(jnp.asarray(vectors, jnp.float32)))
    np.testing.assert_allclose(ours.std((0, 1))[:2], 1, rtol=1e-3)
    assert ours.std((0, 1))[2:].max() < 0.1


def test_before_it_is_sought_it_is_the_first_channels():
    vectors = jnp.asarray(RNG.normal(size=(3, 5)), jnp.float32)
    np.testing.assert_array_equal(whitening.Whitening.none(5, 2)(vectors), vectors[:, :2])
