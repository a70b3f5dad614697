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
        ((64, 64), 'simple', 2_942_624, 7_679_368),
        ((64, 64), 'complex', 2_900_096, 43_572_712),
        ((128, 128), 'simple', 3_590_944, 9_331_080),
        ((128, 128), 'complex', 21_183_616, 48_633_192),
        ((200, 320), 'simple', 1_056_992, 2_820_488),
        ((200, 320), 'complex', 989_088, 12_892_136),
    ],
)
def test_the_parts_have_the_parameters_of_the_supplement(size, kind, encoder, generator):
    """Those for 200 x 320 were summed by hand: rows * columns * (inputs + 2) * outputs + 2 * outputs of each layer."""
    network = background.background(kind, size, jnp.float32)
    image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    predicted, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), image)
    assert predicted.shape == (2, *size, 4)
    counts = {'encoder': 0, 'generator': 0}
    for name, layer in variables['params'].items():
        counts[name.partition('_')[0]] += sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(layer))
    assert counts == {'encoder': encoder, 'generator': generator}


@pytest.mark.parametrize('kind', ['simple', 'complex'])
def test_sizes_without_channels_are_refused(kind):
    message = (
        rf"^method\.background '{kind}' has 5 to 7 layers down to one cell, and images of 24 x 16 pixels \(method\.image_size\) "
        'need 4; choose another size, '
    )
    with pytest.raises(UserError, match=message):
        background.background(kind, (16, 24), jnp.float32)


def test_videos_have_the_layers_of_the_released_code():
    """Its loops, by hand: rows 200, 67, 23, 8, 3, 1 and columns 320, 107, 36, 12, 4, 1."""
    found = background.layers_to_one_cell(200, 320)
    assert found[:4] == [((5, 5), (3, 3), (2, 2), beyond) for beyond in [(1, 1), (0, 1), (1, 2), (1, 2)]]
    assert found[4:] == [((3, 4), (1, 1), (0, 0), (0, 0))]


def _places(x):
    """Rows and columns as two more channels, cell by cell."""
    batch, height, width, _ = x.shape
    more = np.ones((batch, height, width, 2))
    for row, column in np.ndindex(height, width):
        if height > 1:
            more[:, row, column, 0] = row / (height - 1) - 0.5
        if width > 1:
            more[:, row, column, 1] = column / (width - 1) - 0.5
    return np.concatenate([x, more], axis=-1)


def _conv(x, kernel, stride, padding):
    """stride, padding: of rows and of columns."""
    (high, wide), (down, right) = kernel.shape[:2], stride
    x = np.pad(x, ((0, 0), *((number, number) for number in padding), (0, 0)))
    height, width = (x.shape[1] - high) // down + 1, (x.shape[2] - wide) // right + 1
    out = np.zeros((len(x), height, width, kernel.shape[-1]))
    for row, column in np.ndindex(height, width):
        patch = x[:, row * down : row * down + high, column * right : column * right + wide]
        out[:, row, column] = np.tensordot(patch, kernel, 3)
    return out


def _transposed(x, kernel, stride, padding, height, width):
    out = np.zeros((len(x), height + 8, width + 8, kernel.shape[-1]))
    for row, column in np.ndindex(*x.shape[1:3]):
        for i, j in np.ndindex(kernel.shape[:2]):
            out[:, row * stride[0] + i, column * stride[1] + j] += x[:, row, column] @ kernel[i, j]
    return out[:, padding[0] : padding[0] + height, padding[1] : padding[1] + width]


def _normalised(x, norm):
    groups = max(1, x.shape[-1] // 16)
    grouped = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    mean, variance = grouped.mean((1, 3), keepdims=True), grouped.var((1, 3), keepdims=True)
    x = ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * norm['scale'] + norm['bias']
    return np.where(x > 0, x, np.expm1(x))


_DOWN = {  # strides and paddings of rows and columns, and the cells that each layer leaves
    (16, 16): [((2, 2), (2, 2), (8, 8)), ((2, 2), (2, 2), (4, 4)), ((2, 2), (1, 1), (2, 2)), ((1, 1), (0, 0), (1, 1))],
    (11, 20): [((2, 2), (2, 2), (6, 10)), ((2, 2), (2, 2), (3, 5)), ((1, 2), (0, 1), (1, 2)), ((1, 1), (0, 0), (1, 1))],
}


@pytest.mark.parametrize('size', _DOWN)
def test_the_autoencoder_computes_what_its_definition_says(size):
    """Four layers down and four up, with groups of 16 channels and of fewer."""
    network, down = Autoencoder((32, 6, 7, 5), (6, 7, 48, 4)), _DOWN[size]
    image = np.random.default_rng(0).uniform(0, 255, (2, *size, 3))
    params = network.init(jax.random.key(0), jnp.float32(image))['params']
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), params)
    found = jax.jit(network.apply, compiler_options=tiny.QUICK)({'params': params}, jnp.float32(image))
    params = jax.tree.map(np.float64, params)

    x = image
    for index, (stride, padding, left) in enumerate(down):
        x = _conv(_places(x), params[f'encoder_{index}']['kernel'], stride, padding)
        assert x.shape[1:3] == left
        x = _normalised(x, params[f'encoder_norm_{index}'])
    sizes = [size, *(left for _, _, left in down[:-1])]
    for index, ((stride, padding, _), whole) in enumerate(zip(reversed(down), reversed(sizes), strict=True)):
        x = _transposed(_places(x), params[f'generator_{index}']['kernel'], stride, padding, *whole)
        x = _normalised(x, params[f'generator_norm_{index}']) if index < 3 else x
    np.testing.assert_allclose(found, 255 / (1 + np.exp(-x)), rtol=1e-3, atol=0.05)


def test_a_learned_image_is_the_same_for_all_images():
    network = LearnedImage(4, 5)
    logits = np.random.default_rng(0).normal(size=(4, 5, 4))
    found = network.apply({'params': {'logits': jnp.float32(logits)}}, jnp.zeros((3, 4, 5, 3)))
    np.testing.assert_allclose(found, np.tile(255 / (1 + np.exp(-logits)), (3, 1, 1, 1)), rtol=1e-5)
