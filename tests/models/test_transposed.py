"""Transposed convolutions against their definition, and both ways to compute them against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.models import transposed
from tests.support import tiny

# size, stride, padding, output_padding: those of AST's networks, and others
CASES = [(4, 2, 1, 0), (5, 2, 2, 1), (2, 1, 0, 0), (2, 2, 0, 0), (3, 1, 1, 0), (5, 3, 1, 2), (3, 4, 0, 0)]


# ... of which rows and columns have their own: the last layer for images of 200 x 320 pixels, and others
APART = [((3, 4), 1, 0, 0), ((5, 4), 2, (2, 1), (1, 0)), ((4, 1), (2, 1), (1, 0), 0), ((5, 3), (3, 2), (2, 1), (2, 1))]


def _added(x, kernel, *numbers):
    """Every cell adds its kernel to the pixels below it; what lies outside is cut off. numbers: as those of `transposed`."""
    batch, height, width, _ = x.shape
    size, features = kernel.shape[:2], kernel.shape[-1]
    stride, padding, beyond = np.broadcast_to(np.array([np.broadcast_to(number, 2) for number in numbers]), (3, 2))
    sides = (np.array([height, width]) - 1) * stride - 2 * padding + size + beyond
    large = np.zeros((batch, *(sides + 2 * padding + size), features))
    for row in range(height):
        for column in range(width):
            for i, j in np.ndindex(size):
                large[:, stride[0] * row + i, stride[1] * column + j] += x[:, row, column] @ kernel[i, j]
    return large[:, padding[0] : padding[0] + sides[0], padding[1] : padding[1] + sides[1]]


@pytest.mark.parametrize('case', [*CASES, *APART])
@pytest.mark.parametrize('lowering', ['patches', 'convolution'])
def test_cells_add_their_kernels(case, lowering):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 3, 4, 3)), rng.normal(size=(*np.broadcast_to(case[0], 2), 3, 5))
    found = jax.jit(
        lambda x, kernel: transposed.transposed(x, kernel, *case[1:], lowering=lowering), compiler_options=tiny.QUICK
    )(jnp.float32(x), jnp.float32(kernel))
    np.testing.assert_allclose(found, _added(x, kernel, *case[1:]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('size', [4, (4, 2)])
def test_the_layer_is_that_map_with_a_bias_and_drawn_between_the_limits_of_torch(size):
    layer = transposed.TransposedConv(8, size, 2, 1, use_bias=True)
    rows, columns = np.broadcast_to(size, 2)
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 16))
    params = layer.init(jax.random.key(1), x)['params']
    limit = 1 / np.sqrt(8 * rows * columns)
    assert {name: leaf.shape for name, leaf in params.items()} == {'kernel': (rows, columns, 16, 8), 'bias': (8,)}
    for leaf in params.values():
        assert 0.5 * limit < abs(leaf).max() <= limit
    expected = _added(np.asarray(x), np.asarray(params['kernel']), 2, 1, 0) + np.asarray(params['bias'])
    np.testing.assert_allclose(layer.apply({'params': params}, x), expected, rtol=1e-4, atol=1e-5)
