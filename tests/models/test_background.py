"""AE-NE: its parameters by the table of the supplement, and what it computes against loops over cells."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.errors import UserError
from ar_seg_jax.models import background
from ar_seg_jax.models.background import Autoencoder, LearnedImage
from tests.support import tiny


@pytest.mark.parametrize(
    ('size', 'kind', 'encoder', 'generator'),
    [
        (64, 'simple', 2_942_624, 7_679_368),
        (64, 'complex', 2_900_096, 43_572_712),
        (128, 'simple', 3_590_944, 9_331_080),
        (128, 'complex', 21_183_616, 48_633_192),
    ],
)
def test_the_parts_have_the_parameters_of_the_supplement(size, kind, encoder, generator):
    network = background.background(kind, size, jnp.float32)
    image = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    predicted, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), image)
    assert predicted.shape == (2, size, size, 4)
    counts = {'encoder': 0, 'generator': 0}
    for name, layer in variables['params'].items():
        counts[name.partition('_')[0]] += sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(layer))
    assert counts == {'encoder': encoder, 'generator': generator}


@pytest.mark.parametrize('kind', ['simple', 'complex'])
def test_other_sizes_are_refused(kind):
    message = (
        rf"^method\.background '{kind}' is for images of 64, 128 pixels, method\.image_size is 96; choose one of these sizes, "
    )
    with pytest.raises(UserError, match=message):
        background.background(kind, 96, jnp.float32)


def _places(x):
    """Rows and columns as two more channels, cell by cell."""
    batch, height, width, _ = x.shape
    more = np.ones((batch, height, width, 2))
    for row, column in np.ndindex(height, width):
        if height > 1:
            more[:, row, column] = row / (height - 1) - 0.5, column / (width - 1) - 0.5
    return np.concatenate([x, more], axis=-1)


def _conv(x, kernel, stride, padding):
    size = kernel.shape[0]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    side = (x.shape[1] - size) // stride + 1
    out = np.zeros((len(x), side, side, kernel.shape[-1]))
    for row, column in np.ndindex(side, side):
        patch = x[:, row * stride : row * stride + size, column * stride : column * stride + size]
        out[:, row, column] = np.tensordot(patch, kernel, 3)
    return out


def _transposed(x, kernel, stride, padding, side):
    out = np.zeros((len(x), side + 8, side + 8, kernel.shape[-1]))
    for row, column in np.ndindex(*x.shape[1:3]):
        for i, j in np.ndindex(kernel.shape[:2]):
            out[:, row * stride + i, column * stride + j] += x[:, row, column] @ kernel[i, j]
    return out[:, padding : padding + side, padding : padding + side]


def _normalised(x, norm):
    groups = max(1, x.shape[-1] // 16)
    grouped = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    mean, variance = grouped.mean((1, 3), keepdims=True), grouped.var((1, 3), keepdims=True)
    x = ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * norm['scale'] + norm['bias']
    return np.where(x > 0, x, np.expm1(x))


def test_the_autoencoder_computes_what_its_definition_says():
    """Four layers down from 16 pixels and four up, with groups of 16 channels and of fewer."""
    network = Autoencoder((32, 6, 7, 5), (6, 7, 48, 4))
    image = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3))
    params = network.init(jax.random.key(0), jnp.float32(image))['params']
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), params)
    found = jax.jit(network.apply, compiler_options=tiny.QUICK)({'params': params}, jnp.float32(image))
    params = jax.tree.map(np.float64, params)

    x = image
    for index, shape in enumerate([(2, 2), (2, 2), (2, 1), (1, 0)]):
        x = _conv(_places(x), params[f'encoder_{index}']['kernel'], *shape)
        x = _normalised(x, params[f'encoder_norm_{index}'])
    assert x.shape == (2, 1, 1, 5)
    for index, shape in enumerate([(1, 0, 2), (2, 1, 4), (2, 2, 8), (2, 2, 16)]):
        x = _transposed(_places(x), params[f'generator_{index}']['kernel'], *shape)
        x = _normalised(x, params[f'generator_norm_{index}']) if index < 3 else x
    np.testing.assert_allclose(found, 255 / (1 + np.exp(-x)), rtol=1e-3, atol=0.05)


def test_a_learned_image_is_the_same_for_all_images():
    network = LearnedImage(4)
    logits = np.random.default_rng(0).normal(size=(4, 4, 4))
    found = network.apply({'params': {'logits': jnp.float32(logits)}}, jnp.zeros((3, 4, 4, 3)))
    np.testing.assert_allclose(found, np.tile(255 / (1 + np.exp(-logits)), (3, 1, 1, 1)), rtol=1e-5)
