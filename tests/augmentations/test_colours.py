"""Changes of colours against PIL, colorsys and scipy."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage

from ar_seg_jax.augmentations import colours
from ar_seg_jax.augmentations.colours import Jitter

ENHANCERS = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]


def _images(count=3, height=6, width=7, channels=4):
    return np.random.default_rng(0).integers(30, 220, (count, height, width, channels)).astype(np.uint8)


def _unit(images):
    return jnp.asarray(images / np.float32(255))


def _keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.mark.parametrize('number', range(3))
@pytest.mark.parametrize('change', [-1.0, -0.4, 0.0, 0.3])
def test_brightness_contrast_and_saturation_are_those_of_pil(number, change):
    images = _images()
    changes = np.zeros((3, 4), np.float32)
    changes[:, number] = change
    found = np.asarray(colours.jitter(_unit(images), jnp.asarray(changes)))
    for image, one in zip(images, found, strict=True):
        expected = ENHANCERS[number](Image.fromarray(image[..., :3])).enhance(1 + change)
        np.testing.assert_allclose(one[..., :3], np.asarray(expected) / 255, atol=2.1 / 255)  # PIL rounds twice
    np.testing.assert_array_equal(found[..., 3], images[..., 3] / np.float32(255))


def test_hue_is_that_of_hsv():
    image = np.asarray(_unit(_images(count=1)[..., :3]))
    found = np.asarray(colours.jitter(jnp.asarray(image), jnp.array([[0, 0, 0, -0.2]])))
    for before, after in zip(image.reshape(-1, 3), found.reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*before)
        np.testing.assert_allclose(after, colorsys.hsv_to_rgb((h - 0.2) % 1, s, v), atol=2e-5)


def test_operations_follow_one_another_in_the_order_of_the_image():
    """One at a time, in another order for each image, against all at once."""
    images = _unit(_images())
    changes = np.array([[0.3, -0.5, 0.4, 0.1]] * 3, np.float32)
    orders = np.array([[0, 1, 2, 3], [3, 1, 0, 2], [2, 0, 3, 1]])
    found = colours.jitter(images, jnp.asarray(changes), jnp.asarray(orders))
    for image, order, one in zip(images, orders, np.asarray(found), strict=True):
        for number in order:
            image = colours.jitter(image[None], jnp.asarray(changes[:1] * (np.arange(4) == number)))[0]
        np.testing.assert_allclose(one, image, atol=1e-6)
    assert np.abs(np.asarray(found) - colours.jitter(images, jnp.asarray(changes)))[1:].max() > 0.01


@pytest.mark.parametrize('order', ['fixed', 'random'])
def test_jitter_draws_for_each_image(order):
    images = _unit(np.repeat(_images(count=1), 4, axis=0))
    found = np.asarray(Jitter(0.4, 0.4, 0.4, 0.125, order=order)(_keys(4), images))
    assert found.min() >= 0 and found.max() <= 1
    assert min(np.abs(found[i] - found[j]).max() for i in range(4) for j in range(i)) > 0.01
    np.testing.assert_allclose(Jitter(0.0, 0.0, 0.0, 0.0, order=order)(_keys(4), images), images, atol=1e-6)


def test_jitter_draws_uniformly_within_its_ranges_and_as_often_as_it_says():
    """Factors below 0 are none of the range, as in torchvision: brightness, of 3, is from 0 to 4."""
    jitter = Jitter(3.0, 0.3, 0.2, 0.1, probability=0.8)
    changes, orders = jax.vmap(jitter._drawn)(_keys(4000))
    happened = np.asarray(changes != 0)
    np.testing.assert_allclose(happened.mean(axis=0), 0.8, atol=0.03)
    for number, (least, most) in enumerate(((-1, 3), (-0.3, 0.3), (-0.2, 0.2), (-0.1, 0.1))):
        drawn = (np.asarray(changes)[happened[:, number], number] - least) / (most - least)
        np.testing.assert_allclose(np.quantile(drawn, [0, 0.25, 0.75, 1]), [0, 0.25, 0.75, 1], atol=0.03)
    assert len(np.unique(orders, axis=0)) == 24


def test_grey_images_are_those_of_pil_and_as_many_as_wanted():
    images = np.repeat(_images(count=1), 2000, axis=0)
    found = np.asarray(colours.to_grey(_keys(2000), _unit(images), 0.2))
    grey = np.asarray(Image.fromarray(images[0, ..., :3]).convert('L')) / 255
    are_grey = (np.ptp(found[..., :3], axis=-1) < 1e-6).all(axis=(1, 2))
    np.testing.assert_allclose(are_grey.mean(), 0.2, atol=0.03)
    np.testing.assert_allclose(found[are_grey][0, ..., 0], grey, atol=0.6 / 255)
    np.testing.assert_allclose(found[~are_grey][0], images[0] / 255, atol=1e-6)


def test_blur_is_scipys_away_from_the_edges():
    image = _unit(np.repeat(_images(1, 40, 36, 3), 5, axis=0))
    found = np.asarray(colours.blur(_keys(5), image, 1.0, 1.5, 1.5))
    expected = ndimage.gaussian_filter(np.asarray(image[0]), (1.5, 1.5, 0), truncate=8)
    np.testing.assert_allclose(found[2, 12:-12, 12:-12], expected[12:-12, 12:-12], atol=1e-6)
    np.testing.assert_allclose(colours.blur(_keys(5), jnp.ones_like(image), 1.0, 0.1, 2.0), 1, rtol=1e-5)
    varied = np.asarray(colours.blur(_keys(5), image, 1.0, 0.1, 2.0))
    roughness = np.abs(np.diff(varied, axis=1)).mean(axis=(1, 2, 3))
    assert len(np.unique(roughness.round(5))) == 5
    np.testing.assert_array_equal(colours.blur(_keys(5), image, 0.0, 0.1, 2.0), image)


def test_two_of_three_colours_become_noise_around_the_mean_of_the_third():
    image = _unit(np.repeat(_images(1, 30, 30, 4), 60, axis=0))
    mean, deviation = jnp.array([0.2, 0.5, 0.7]), jnp.array([0.1, 0.2, 0.3])
    found = np.asarray(colours.drop(_keys(60), image, mean, deviation))
    np.testing.assert_array_equal(found[..., 3], image[..., 3])
    kept = (found[..., :3] == image[..., :3]).all(axis=(1, 2))
    assert (kept.sum(axis=1) == 1).all() and set(np.argmax(kept, axis=1).tolist()) == {0, 1, 2}
    for one, (number,) in zip(found, map(np.flatnonzero, kept), strict=True):
        noise = one[..., [channel for channel in range(3) if channel != number]]
        np.testing.assert_allclose(noise.mean(), float(mean[number]), atol=1e-3)
        np.testing.assert_allclose(noise.std(), deviation[number] / 100, rtol=0.1)
