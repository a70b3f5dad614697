"""The head on a frozen encoder: what it computes, its first weights and its dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from ar_seg_jax.models.projector import Projector

ACTIVATIONS = {'relu': lambda x: np.maximum(x, 0), 'silu': lambda x: x * expit(x)}


def _features(channels=7):
    return jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 5, channels)), jnp.float32)


@pytest.mark.parametrize('activation', ACTIVATIONS)
def test_the_code_is_a_linear_map_plus_a_perceptron(activation):
    features, projector = np.asarray(_features()), Projector(2, activation, 0.5)
    variables = projector.init(jax.random.key(0), jnp.asarray(features))
    parts = jax.tree.map(np.asarray, variables['params'])

    def linear(name, x):
        return x @ parts[name]['kernel'] + parts[name]['bias']

    expected = linear('linear', features) + linear('nonlinear', ACTIVATIONS[activation](linear('hidden', features)))
    code, seen = projector.apply(variables, jnp.asarray(features))
    np.testing.assert_allclose(code, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(seen, features)


def test_weights_and_biases_are_drawn_within_the_limits_of_pytorch():
    variables = Projector(50, 'relu', 0.0).init(jax.random.key(0), _features(100))
    for part in variables['params'].values():
        for leaf in part.values():
            assert 0.09 < np.abs(leaf).max() <= 0.1  # 1 / sqrt(100)


def test_channels_are_dropped_in_all_places_of_an_image_and_three_times_anew():
    """Of features that are 1 everywhere, where weights are the identity and biases are 0."""
    features, projector = jnp.ones((4, 3, 5, 60)), Projector(60, 'relu', 0.25)
    variables = jax.tree.map(jnp.zeros_like, projector.init(jax.random.key(0), features))
    masks = []
    for part in (('linear',), ('hidden', 'nonlinear')):
        params = dict(variables['params'])
        for name in part:
            params[name] = {'kernel': jnp.eye(60), 'bias': jnp.zeros(60)}
        code, seen = projector.apply({'params': params}, features, train=True, rngs={'dropout': jax.random.key(1)})
        masks.append(np.asarray(code))
    masks.append(np.asarray(seen))
    for mask in masks:
        assert np.all(mask == mask[:, :1, :1]) and 0.65 < np.mean(mask > 0) < 0.85
        np.testing.assert_allclose(mask[mask > 0], 1 / 0.75, rtol=1e-5)
        assert not np.array_equal(mask[0], mask[1])
    assert not any(
        np.array_equal(one, other) for one, other in ((masks[0], masks[1]), (masks[0], masks[2]), (masks[1], masks[2]))
    )
