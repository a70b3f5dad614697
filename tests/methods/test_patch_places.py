"""Pairs of patches against a slow loop that draws them by the definition, and patches against slices of whole images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.methods import patch_places
from ar_seg_jax.models.vgg import VGG
from tests.support import tiny

PAIRS = 6000
PATCH = 11
NARROW = (patch_places.SMALLEST * PATCH, 80)  # where tries often end outside


@functools.cache
def _drawn(name, size, **options):
    """Many pairs of a method, as arrays of NumPy."""
    method = tiny.patch_pairs(name, patch=PATCH, **options)
    pairs = jax.jit(lambda: method.pairs(jax.random.key(0), 0, (PAIRS, *size)), compiler_options=tiny.QUICK)()
    return jax.tree.map(np.asarray, pairs)


@functools.cache
def _by_the_definition(name, size):
    """As many pairs, one after the other: offsets before they are rounded, and labels."""
    rng = np.random.default_rng(1)
    offsets, labels = [], []
    for _ in range(PAIRS):
        first = np.floor(rng.uniform(1.5 * PATCH, np.array(size) - 1.5 * PATCH))
        beside = rng.integers(2)
        while True:
            if name == 'doersch':
                label, distance = rng.integers(9), rng.uniform(1.5 * PATCH, 2 * PATCH)
                angle = np.deg2rad(45 * label)
            else:
                label, distance, angle = beside, rng.uniform(2 * PATCH, max(size)), rng.uniform(0, 2 * np.pi)
            offset = distance * np.array([np.sin(angle), np.cos(angle)])
            if name == 'isola' and beside:
                offset = PATCH * rng.choice([-1, 1], 2)
            second = np.round(first + offset)
            if (second >= PATCH // 2).all() and (second < np.array(size) - PATCH // 2).all():
                break
        offsets.append(offset)
        labels.append(label)
    return np.array(offsets), np.array(labels)


def _distances(offsets):
    return np.hypot(*np.moveaxis(offsets, -1, 0))


@pytest.mark.parametrize('name', ['doersch', 'isola'])
@pytest.mark.parametrize('size', [(128, 128), NARROW])
def test_patches_are_inside_and_first_centres_uniform_where_they_may_be(name, size):
    first, second, _ = _drawn(name, size)
    for centres in (first, second):
        assert (centres >= PATCH // 2).all() and (centres < np.array(size) - PATCH // 2).all()
    for places, side in zip(first.T, size, strict=True):
        assert (places.min(), places.max()) == (16, side - 17)
        found = np.bincount(places - 16) / PAIRS
        expected = np.diff(np.clip(np.arange(16, side - 15), 16.5, side - 16.5)) / (side - 33)
        np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(expected.max() / PAIRS))


@pytest.mark.parametrize('size', [(128, 128), NARROW])
def test_the_label_of_doersch_is_the_direction(size):
    first, second, label = _drawn('doersch', size)
    offsets = second - first
    assert (np.abs(_distances(offsets) - 1.75 * PATCH) <= 0.25 * PATCH + 0.71).all()
    told = np.rad2deg(np.arctan2(offsets[:, 0], offsets[:, 1]))
    assert np.abs((told - 45 * label + 180) % 360 - 180).max() < 3  # rounding to pixels turns an offset of 16 by that much
    expected = np.bincount(_by_the_definition('doersch', size)[1], minlength=9) / PAIRS
    np.testing.assert_allclose(np.bincount(label) / PAIRS, expected, atol=0.025)
    assert expected.min() > 0.03


def test_the_last_direction_of_iic_is_the_first_and_the_paper_has_each_once():
    of_iic, of_paper = _drawn('doersch', (128, 128)), _drawn('doersch', (128, 128), directions=8)
    offsets = of_iic.second - of_iic.first
    assert (offsets[np.isin(of_iic.label, (0, 8)), 0] == 0).all() and (offsets[np.isin(of_iic.label, (0, 8)), 1] > 0).all()
    assert set(of_iic.label.tolist()) == set(range(9)) and set(of_paper.label.tolist()) == set(range(8))


@pytest.mark.parametrize('size', [(128, 128), NARROW])
def test_neighbours_of_isola_touch_at_a_corner_and_are_half_of_the_pairs(size):
    first, second, label = _drawn('isola', size)
    offsets = second - first
    neighbours = offsets[label == 1]
    assert abs(np.mean(label == 1) - 0.5) < 0.03
    assert (np.abs(neighbours) == PATCH).all()
    np.testing.assert_allclose((neighbours > 0).mean(axis=0), 0.5, atol=0.05)
    assert len(np.unique(neighbours, axis=0)) == 4
    expected, of_expected = _by_the_definition('isola', size)
    found, expected = _distances(offsets[label == 0]), _distances(expected[of_expected == 0])
    assert found.min() > 2 * PATCH - 0.71
    np.testing.assert_allclose(*(np.quantile(distances, [0.1, 0.5, 0.9]) for distances in (found, expected)), atol=2)


MODELS = {
    'aligned': VGG(heads={}, channels=2, geometry='aligned', dtype='float32'),
    'stretched': VGG(heads={}, channels=2, geometry='paper', dtype='float32'),
    'centred': tiny.autoregressive(geometry='centred', output_stride=4),
    'displaced': tiny.autoregressive(geometry='paper', output_stride=2),
}


@pytest.mark.parametrize('name', MODELS)
def test_patches_are_those_of_the_maps_at_all_pixels(name):
    model, size, rng = MODELS[name], (37, 50), np.random.default_rng(0)
    stride = model.output_stride
    maps = jnp.asarray(rng.normal(size=(4, *(-(-side // stride) for side in size), 3)), jnp.float32)
    centres = np.array([[2, 2], [34, 47], [17, 30], [5, 46]])
    found = patch_places.take(model.to_pixels, maps, size, jnp.asarray(centres), 5)
    whole = np.asarray(model.to_pixels(maps, *size))
    for patch, image, (row, column) in zip(np.asarray(found), whole, centres, strict=True):
        np.testing.assert_allclose(patch, image[row - 2 : row + 3, column - 2 : column + 3], atol=1e-6)
