"""Crops, flips and affine maps against slow loops and scipy; maps and labels follow their images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ar_seg_jax.augmentations import geometry
from ar_seg_jax.augmentations.geometry import Affine, Crop, Grid

RNG = np.random.default_rng(0)


def _crop(top=0.0, left=0.0, height=1.0, width=1.0, flipped=False):
    return Crop(*(jnp.array([value], jnp.float32) for value in (top, left, height, width)), jnp.array([flipped]))


def _keys(count):
    return jax.random.split(jax.random.key(0), count)


def _interpolated(map, row, column):
    """Bilinear, edges repeated, by scipy."""
    return np.stack(
        [ndimage.map_coordinates(map[..., channel], [[row], [column]], order=1, mode='nearest')[0] for channel in range(2)]
    )


@pytest.mark.parametrize('flipped', [False, True])
def test_a_part_that_is_enlarged_is_interpolated_at_the_centres_of_its_pixels(flipped):
    image, crops = RNG.uniform(size=(1, 12, 10, 2)), _crop(0.2, 0.3, 0.5, 0.6, flipped)
    found = geometry.crop(jnp.asarray(image, jnp.float32), crops, Grid.of_pixels((12, 10)), Grid.of_pixels((9, 8)))
    assert found.shape == (1, 9, 8, 2)
    for row in range(9):
        for column in range(8):
            across = 7 - column if flipped else column
            there = 0.2 * 12 + (row + 0.5) / 9 * 6 - 0.5, 0.3 * 10 + (across + 0.5) / 8 * 6 - 0.5
            np.testing.assert_allclose(found[0, row, column], _interpolated(image[0], *there), atol=1e-5)


def test_a_whole_image_that_shrinks_is_that_of_jax_image_resize():
    image = jnp.asarray(RNG.uniform(size=(1, 16, 12, 2)), jnp.float32)
    found = geometry.crop(image, _crop(), Grid.of_pixels((16, 12)), Grid.of_pixels((8, 6)))
    np.testing.assert_allclose(found, jax.image.resize(image, (1, 8, 6, 2), 'linear', antialias=True), atol=1e-6)


@pytest.mark.parametrize('first', [0.0, 1.5])
@pytest.mark.parametrize('flipped', [False, True])
def test_feature_maps_follow_their_image(first, flipped):
    """A ramp, which interpolation does not change: that of the cells of the part is what the part of the ramp has there."""
    rows, columns = np.mgrid[0:32, 0:24].astype(np.float32)
    ramp = np.stack([rows, columns], axis=-1)[None]
    source, target = Grid((8, 6), (32, 24), 4, first), Grid((9, 7), (36, 28), 4, first)
    crops = _crop(0.25, 0.25, 0.5, 0.5, flipped)
    cells = ramp[:, int(first) :: 4, int(first) :: 4][:, :8, :6] + (first - int(first))
    whole = geometry.crop(jnp.asarray(ramp), crops, Grid.of_pixels((32, 24)), Grid.of_pixels((36, 28)))
    found = geometry.crop(jnp.asarray(cells), crops, source, target)
    for row in range(1, 8):
        for column in range(1, 6):
            np.testing.assert_allclose(
                found[0, row, column], _interpolated(whole[0], 4 * row + first, 4 * column + first), atol=1e-4
            )


def test_labels_are_those_of_the_nearest_pixels():
    labels, crops = RNG.integers(0, 5, (1, 12, 10)), _crop(0.21, 0.33, 0.5, 0.6, True)
    found = geometry.crop_labels(jnp.asarray(labels), crops, Grid.of_pixels((12, 10)), Grid.of_pixels((9, 8)))
    for row in range(9):
        for column in range(8):
            there = round(0.21 * 12 + (row + 0.5) / 9 * 6 - 0.5), round(0.33 * 10 + (7 - column + 0.5) / 8 * 6 - 0.5)
            assert found[0, row, column] == labels[0, *there]


def test_parts_lie_in_the_image_and_are_as_large_as_wanted():
    crops = geometry.draw_crops(_keys(2000), 0.5, 0.3)
    assert float(crops.height.min()) >= 0.5 and float(crops.height.max()) <= 1
    np.testing.assert_array_equal(crops.height, crops.width)
    for start in (crops.top, crops.left):
        assert float(start.min()) >= 0 and float((start + crops.height).max()) <= 1
        np.testing.assert_allclose((start / (1 - crops.height)).mean(), 0.5, atol=0.03)
    np.testing.assert_allclose(crops.height.mean(), 0.75, atol=0.01)
    np.testing.assert_allclose(crops.flipped.mean(), 0.3, atol=0.04)


def test_turns_are_those_of_numpy_and_are_undone():
    maps = jnp.asarray(RNG.uniform(size=(40, 5, 5, 2)), jnp.float32)
    elements = jax.vmap(lambda key: geometry.draw(key, geometry.TURNS))(_keys(40))
    turned = geometry.turn(maps, geometry.TURNS, elements)
    pairs = zip(np.asarray(maps), turned, strict=True)
    assert {next(n for n in range(4) if np.array_equal(np.rot90(one, n), found)) for one, found in pairs} == {0, 1, 2, 3}
    np.testing.assert_array_equal(geometry.turn_back(turned, geometry.TURNS, elements), maps)


def test_flips_are_as_many_as_wanted_and_undone():
    flipped = geometry.draw_flips(_keys(3000), 0.3)
    np.testing.assert_allclose(flipped.mean(), 0.3, atol=0.03)
    maps = jnp.asarray(RNG.uniform(size=(3, 4, 5, 2)), jnp.float32)
    found = geometry.flip(maps, jnp.array([True, False, True]))
    np.testing.assert_array_equal(found, np.stack([maps[0, :, ::-1], maps[1], maps[2, :, ::-1]]))
    np.testing.assert_array_equal(geometry.flip(found, jnp.array([True, False, True])), maps)


def test_affine_maps_are_those_of_scipy_about_the_centre():
    maps = RNG.uniform(size=(3, 11, 8, 1)).astype(np.float32)
    matrices = Affine(30.0, 10.0, (0.8, 1.2)).draw(_keys(3))
    found = geometry.warp(jnp.asarray(maps), matrices)
    centre = np.array([5, 3.5])
    for one, matrix, warped in zip(maps, np.asarray(matrices, np.float64), np.asarray(found), strict=True):
        expected = ndimage.affine_transform(one[..., 0], matrix, centre - matrix @ centre, order=1, mode='constant')
        np.testing.assert_allclose(warped[1:-1, 1:-1, 0], expected[1:-1, 1:-1], atol=1e-4)


def test_an_affine_map_without_ranges_changes_nothing_and_others_are_undone():
    maps = jnp.asarray(RNG.uniform(size=(2, 9, 9, 1)), jnp.float32)
    np.testing.assert_allclose(geometry.warp(maps, Affine(0.0, 0.0, (1.0, 1.0)).draw(_keys(2))), maps, atol=1e-6)
    smooth = jnp.asarray(np.fromfunction(lambda b, i, j, c: i + 2 * j + b, (2, 31, 31, 1)), jnp.float32)
    matrices = Affine(20.0, 5.0, (0.9, 1.1)).draw(_keys(2))
    back = geometry.warp_back(geometry.warp(smooth, matrices), matrices)
    np.testing.assert_allclose(back[:, 10:21, 10:21], smooth[:, 10:21, 10:21], atol=1e-3)  # linear, so interpolation is exact


def test_affine_maps_are_drawn_from_their_ranges():
    matrices = np.asarray(Affine(30.0, 0.0, (0.8, 1.2)).draw(_keys(3000)))
    scales, angles = np.sqrt(np.linalg.det(matrices)), np.rad2deg(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    np.testing.assert_allclose(np.quantile(scales, [0, 0.5, 1]), [0.8, 1, 1.2], atol=0.02)
    np.testing.assert_allclose(np.quantile(angles, [0, 0.5, 1]), [-30, 0, 30], atol=1.5)
