"""What models see: their normalisation, the gradients that are appended, and the keys of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ar_seg_jax.augmentations import inputs
from tests.support import tiny


def test_a_model_sees_what_it_was_made_for():
    image, mean, deviation = jnp.arange(240, dtype=jnp.uint8).reshape(2, 5, 8, 3), (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    model = tiny.autoregressive(kind=tiny.normalising(mean, deviation))
    for number in range(3):
        expected = (image[..., number] / 255 - mean[number]) / deviation[number]
        np.testing.assert_allclose(inputs.model_input(model, image)[..., number], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(inputs.model_input(tiny.autoregressive(), image), image / 255, rtol=1e-6)


@pytest.mark.parametrize('channels', [3, 4])
def test_sobel_gradients_are_those_of_scipy(channels):
    image = np.random.default_rng(0).uniform(size=(2, 7, 9, channels)).astype(np.float32)
    seen = 2 * image - 1  # normalised, of which the gradients would be twice as large
    found = inputs.append_sobel(jnp.asarray(seen), jnp.asarray(image))
    assert found.shape == (2, 7, 9, channels + 2)
    np.testing.assert_array_equal(found[..., :channels], seen)
    grey = 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]
    for index, axis in ((-2, 2), (-1, 1)):
        # scipy smooths along every other axis, the batch included; one image at a time it is the 3x3 kernel.
        expected = np.stack([ndimage.sobel(one, axis=axis - 1, mode='constant') for one in grey])
        np.testing.assert_allclose(found[..., index], expected, rtol=1e-4, atol=1e-5)


def test_the_key_of_an_image_follows_from_its_pixels_alone():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)
    image[3] = image[1]
    found = jax.random.key_data(inputs.keys_of(jnp.asarray(image), jax.random.key(0)))
    np.testing.assert_array_equal(found[3], found[1])
    assert len(np.unique(found, axis=0)) == 3
    other_order = jax.random.key_data(inputs.keys_of(jnp.asarray(image[::-1]), jax.random.key(0)))
    np.testing.assert_array_equal(other_order, found[::-1])
    image[0, 2, 3, 1] ^= 1
    assert (jax.random.key_data(inputs.keys_of(jnp.asarray(image), jax.random.key(0)))[0] != found[0]).any()
    assert (jax.random.key_data(inputs.keys_of(jnp.asarray(image), jax.random.key(1))) != found).any()
