"""Comparison with another program in float64."""

import jax
import jax.numpy as jnp
import numpy as np


def assert_close(found, expected):
    """To 1e-9 of the largest entry, and 1e-15: biases before a normalisation or a softmax have no gradient."""
    found, expected = np.asarray(found), np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max() + 1e-15)


def drawn(shapes):
    """Variables of these shapes: kernels that keep the size of activations, biases that are not zero."""
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        noise = rng.normal(size=shape.shape)
        if path[-1].key == 'kernel':
            return jnp.asarray(noise / np.prod(shape.shape[:-1]) ** 0.5)
        return jnp.asarray(np.exp(0.1 * noise) if path[-1].key in ('scale', 'var') else 0.1 * noise)

    return jax.tree_util.tree_map_with_path(leaf, shapes)
