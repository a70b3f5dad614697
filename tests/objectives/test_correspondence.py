"""STEGO's loss against a loop over pairs, points against scipy's interpolation, and which image is nearest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ar_seg_jax.objectives import correspondence
from ar_seg_jax.objectives.correspondence import Points


def _points(seed, share=1.0):
    rng = np.random.default_rng(seed)
    features, codes = 0.5 + rng.normal(size=(3, 7, 6)), rng.normal(size=(3, 7, 2))
    return Points(
        *(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True) for vectors in (features, codes)), rng.random((3, 7)) < share
    )


def _on_device(points):
    return Points(
        *(jnp.asarray(leaf) for leaf in jax.tree.map(lambda leaf: np.float32(leaf) if leaf.dtype != bool else leaf, points))
    )


def _by_pairs(first, second, shift):
    """The mean over pairs of points."""
    rows = [
        ([float(f @ g) for g in features], [float(c @ d) for d in codes])
        for one, other in zip(zip(*first, strict=True), zip(*second, strict=True), strict=True)
        for f, c in zip(one[0][one[2]], one[1][one[2]], strict=True)
        for features, codes in [(other[0][other[2]], other[1][other[2]])]
    ]
    mean = np.mean([like for alike, _ in rows for like in alike])
    return np.mean(
        [
            -max(code, 0) * (like - np.mean(alike) + mean - shift)
            for alike, codes in rows
            for like, code in zip(alike, codes, strict=True)
        ]
    )


@pytest.mark.parametrize(('share', 'shift'), [(1.0, 0.0), (1.0, 0.66), (0.6, 0.08)])
def test_the_loss_is_that_of_all_pairs(share, shift):
    one, other = _points(0, share), _points(1, share)
    for pair in ((one, one), (one, other)):
        found = correspondence.correspondence(*map(_on_device, pair), shift)
        np.testing.assert_allclose(found, _by_pairs(*pair, shift), rtol=1e-4, atol=1e-6)


def test_where_nothing_counts_the_loss_is_0():
    one, other = _points(0), _points(1, share=0.0)
    assert correspondence.correspondence(_on_device(one), _on_device(other), 0.1) == 0


def test_points_are_interpolated_between_the_centres_of_the_outermost_cells():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 4, 6, 3))
    key, mask = jax.random.key(0), jnp.ones((2, 4, 6), bool)
    found = correspondence.sampled(jnp.asarray(maps, jnp.float32), jnp.asarray(-maps, jnp.float32), mask, 9, key)
    for image in range(2):
        rows, columns = np.asarray(jax.random.uniform(jax.random.fold_in(key, image), (2, 9)))
        places = [3 * rows, 5 * columns]
        expected = np.stack([ndimage.map_coordinates(maps[image, ..., channel], places, order=1) for channel in range(3)], -1)
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
        np.testing.assert_allclose(found.features[image], expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.codes[image], -expected, rtol=1e-3, atol=1e-5)
    assert found.counted.all()


def test_points_count_where_all_cells_around_them_do():
    mask = np.ones((1, 5, 5), bool)
    mask[:, :, :2] = False
    maps, key = jnp.ones((1, 5, 5, 1)), jax.random.key(0)
    found = correspondence.sampled(maps, maps, jnp.asarray(mask), 200, key)
    columns = 4 * np.asarray(jax.random.uniform(jax.random.fold_in(key, 0), (2, 200)))[1]
    np.testing.assert_array_equal(found.counted[0], columns > 2)
    assert 0.3 < np.mean(found.counted) < 0.7


def test_the_nearest_image_is_another_one_by_its_cosine():
    pooled = jnp.array([[1.0, 0], [0, 3], [5, 1], [1, 1.2]])
    np.testing.assert_array_equal(correspondence.nearest_images(pooled), [2, 3, 0, 2])
