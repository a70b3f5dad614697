"""Means over regions against loops over regions, and what their joint distribution is."""

import jax
import jax.numpy as jnp
import numpy as np

from ar_seg_jax import sharding
from ar_seg_jax.objectives import mutual_information, pooling
from tests.support import feeds


def _scores(seed=0, batch=2, height=5, width=7, clusters=3):
    p = np.random.default_rng(seed).uniform(size=(batch, height, width, clusters)).astype(np.float32)
    return p / p.sum(-1, keepdims=True)


def _regions(batch=2, height=5, width=7):
    """Of any form, with gaps in their numbers, and the largest number that there can be."""
    return np.random.default_rng(3).choice(np.array([0, 4, 5, 11, height * width - 1]), (batch, height, width)).astype(np.int32)


def test_pixels_get_the_mean_of_the_counted_pixels_of_their_region():
    scores, regions = _scores(), _regions()
    mask = np.random.default_rng(1).uniform(size=regions.shape) > 0.4
    mask[0][regions[0] == 4] = False  # a region of which no pixel counts
    found = jax.jit(pooling.over_regions)(scores, regions, mask)
    for image, number in np.ndindex(2, 35):
        inside = regions[image] == number
        counted = inside & mask[image]
        expected = scores[image][counted].mean(0) if counted.any() else np.zeros(3)
        np.testing.assert_allclose(found[image][inside], np.broadcast_to(expected, (inside.sum(), 3)), rtol=1e-5)
    whole, ones = jax.jit(pooling.over_regions)(scores, regions), np.ones(regions.shape, bool)
    np.testing.assert_allclose(whole, jax.jit(pooling.over_regions)(scores, regions, ones), rtol=1e-6)


def test_their_joint_distribution_is_that_of_the_regions_weighted_by_area():
    p, q, regions = _scores(0), _scores(1), _regions()
    mask = np.random.default_rng(2).uniform(size=regions.shape) > 0.3
    expected = np.zeros((3, 3))
    for image, number in np.ndindex(2, 35):
        counted = (regions[image] == number) & mask[image]
        if counted.any():
            expected += counted.sum() * np.outer(p[image][counted].mean(0), q[image][counted].mean(0))
    pooled = (jax.jit(pooling.over_regions)(one, regions, mask) for one in (p, q))
    found = mutual_information.joint_distribution(*pooled, 0, jnp.asarray(mask))
    np.testing.assert_allclose(found, expected / mask.sum(), rtol=1e-5)


def test_devices_sum_over_the_regions_of_their_own_images_and_send_none_of_them():
    scores, regions = _scores(batch=8), _regions(batch=8)
    expected = jax.jit(pooling.over_regions)(scores, regions)
    mesh = feeds.mesh_of(8)
    there = jax.device_put((scores, regions), sharding.split_batch(mesh))
    with jax.set_mesh(mesh):
        compiled = jax.jit(jax.grad(lambda scores, regions: jnp.sum(pooling.over_regions(scores, regions) ** 3)))
        text = compiled.lower(*there).compile().as_text()
        np.testing.assert_allclose(jax.jit(pooling.over_regions)(*there), expected, rtol=1e-6)
    assert 'all-gather' not in text and 'all-to-all' not in text and 'scatter' in text
