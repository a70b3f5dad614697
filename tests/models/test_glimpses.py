"""Glimpses, their places in an image and the composition, against loops over pixels."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ar_seg_jax.models import glimpses
from ar_seg_jax.models.glimpses import GlimpseGenerator
from tests.support import tiny

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(('size', 'parameters'), [(32, 51_956), (64, 191_476), (128, 732_660)])
def test_the_generators_have_the_parameters_of_the_supplement(size, parameters):
    appearance = jax.ShapeDtypeStruct((2, 3, 32), jnp.float32)
    found, variables = jax.eval_shape(GlimpseGenerator(size).init_with_output, jax.random.key(0), appearance)
    assert found.shape == (2, 3, size, size, 4)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables)) == parameters


def test_glimpses_are_pictures_of_their_appearances_alone():
    generator = GlimpseGenerator(8)
    appearance = jnp.float32(RNG.normal(size=(2, 3, 5)))
    found, variables = jax.jit(generator.init_with_output, compiler_options=tiny.QUICK)(jax.random.key(0), appearance)
    assert found.min() > 0 and found.max() < 1 and np.ptp(found) > 0.1
    assert 'bias' in variables['params']['last'] and 'bias' not in variables['params']['conv_0']
    one = generator.apply(variables, appearance[1:, 2:])
    np.testing.assert_allclose(one[0, 0], found[1, 2], atol=1e-6)


def _sampled(glimpse, place, height, width):
    """Each pixel looks where the affine map takes it, bilinear between the centres of the glimpse's pixels, 0 outside."""
    x, y, scale_x, scale_y = place
    size_y, size_x, channels = glimpse.shape
    out = np.zeros((channels, height, width))
    for row, column in np.ndindex(height, width):
        u, v = (2 * column + 1) / width - 1, (2 * row + 1) / height - 1
        at = [((scale_y * (v - y) + 1) * size_y - 1) / 2, ((scale_x * (u - x) + 1) * size_x - 1) / 2]
        for channel in range(channels):
            out[channel, row, column] = ndimage.map_coordinates(
                np.pad(glimpse[..., channel], 1), np.array(at)[:, None] + 1, order=1, mode='constant'
            )[0]
    return out


def test_glimpses_are_sampled_as_by_a_spatial_transformer():
    pictures = RNG.uniform(size=(2, 2, 6, 8, 4))
    places = np.array([[[0, 0, 1, 1], [0.3, -0.5, 2.5, 1.3]], [[-1, 1, 3, 3], [0.9, 0.1, 1.3, 12]]])
    found = glimpses.place(jnp.float32(pictures), jnp.float32(places), 7, 9)
    expected = [[_sampled(*pair, 7, 9) for pair in zip(*of, strict=True)] for of in zip(pictures, places, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (found[1, 0, :, :2] == 0).all()  # it is in the lower left corner


def test_layers_share_each_pixel_by_activation_and_mask():
    placed, background = RNG.uniform(size=(2, 3, 4, 5, 6)), RNG.uniform(size=(2, 3, 5, 6))
    placed[0, :, 3, 0, 0] = 0  # no mask covers it
    activation, rival = 3 * RNG.normal(size=(2, 3)), RNG.normal(size=(5, 6))
    found = glimpses.composite(*(jnp.float32(array) for array in (placed, activation, background, rival)))
    for image, row, column in np.ndindex(2, 5, 6):
        masks = [1, *placed[image, :, 3, row, column]]
        shares = np.exp([rival[row, column], *activation[image]]) * masks
        colours = np.array([background[image, :, row, column], *placed[image, :, :3, row, column]])
        np.testing.assert_allclose(found.weights[image, :, row, column], shares / shares.sum(), rtol=1e-4)
        np.testing.assert_allclose(found.image[image, :, row, column], shares @ colours / shares.sum(), rtol=1e-4)
    np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.weights[0, :, 0, 0], [1, 0, 0, 0])
