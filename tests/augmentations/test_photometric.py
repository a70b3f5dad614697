"""Jitter, grey and blur one after another."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ar_seg_jax.augmentations import photometric
from ar_seg_jax.augmentations.colours import Jitter

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(0.2, 0.8, (64, 8, 8, 4)), jnp.float32)
KEYS = jax.random.split(jax.random.key(0), 64)
STILL = photometric.Photometric(Jitter(0.0, 0.0, 0.0, 0.0), grey=0.0, blur=0.0, smallest=0.1, largest=2.0)


def _is_grey(images):
    return np.ptp(np.asarray(images[..., :3]), axis=-1).max((1, 2)) < 1e-4


def test_nothing_happens_with_a_probability_of_zero():
    np.testing.assert_allclose(STILL(KEYS, IMAGES), IMAGES, atol=1e-5)


def test_each_happens_as_often_as_it_says_and_by_itself():
    bright = dataclasses.replace(STILL, jitter=Jitter(0.3, 0.0, 0.0, 0.0, probability=0.8), grey=0.2, blur=0.5)
    found = bright(KEYS, IMAGES)
    np.testing.assert_array_equal(found[..., 3], IMAGES[..., 3])
    grey = _is_grey(found)
    assert 3 <= grey.sum() <= 24
    brightness = np.asarray(found.mean((1, 2))[:, :3].sum(1) / IMAGES.mean((1, 2))[:, :3].sum(1))
    changed = np.abs(brightness - 1)[~grey] > 0.01
    assert 0.6 < changed.mean() < 0.97
    smooth = np.asarray(jnp.abs(jnp.diff(found[..., :3], axis=1)).mean((1, 2, 3)) / found[..., :3].mean((1, 2, 3)))
    assert 0.3 < (smooth < 0.75 * np.median(smooth[smooth > np.median(smooth)])).mean() < 0.7


def test_the_released_code_never_makes_images_grey():
    assert _is_grey(photometric.PICIE['paper'](KEYS, IMAGES)).any()
    assert not _is_grey(photometric.PICIE['released'](KEYS, IMAGES)).any()
