"""What images show where, against loops over cells and places."""

import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.objectives import layouts
from ar_seg_jax.objectives.layouts import Layout

GRID = 3
BOXES = np.array([[0, 0, 1, 1], [0.25, 0.1, 0.5, 0.4], [0.5, 0.6, 0.5, 0.4]], np.float32)


def _drawn(seed=0, size=(5, 7)):
    """Maps of parts of three images at BOXES, and which of their cells count."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, *size, 2)).astype(np.float32), rng.random((3, *size)) < 0.7


def _of(maps, counted, boxes=BOXES, grid=GRID, begun=None):
    begun = begun or Layout.none(grid, maps.shape[-1])
    return begun.with_maps(*map(jnp.asarray, (maps, counted, boxes)))


def _shares(place, grid):
    """Places of the grid next to a place in 0..1 along a side, and what each has of it. They are centred in equal parts."""
    between = min(max(place * grid - 0.5, 0), grid - 1)
    first = min(int(between), grid - 2)
    return [(first, first + 1 - between), (first + 1, between - first)]


def _cells(size, box, grid):
    """Of all cells of a map: row, column, and the places of the grid around with their shares."""
    top, left, height, width = box
    for row, column in np.ndindex(*size):
        down, right = top + height * (row + 0.5) / size[0], left + width * (column + 0.5) / size[1]
        around = [((i, j), a * b) for i, a in _shares(down, grid) for j, b in _shares(right, grid)]
        yield row, column, around


def _by_loops(maps, counted, boxes=BOXES, grid=GRID):
    sums, weights = np.zeros((grid, grid, maps.shape[-1])), np.zeros((grid, grid))
    for one, counts, box in zip(maps, counted, boxes, strict=True):
        for row, column, around in _cells(one.shape[:2], box, grid):
            for place, share in around:
                sums[place] += share * one[row, column] * counts[row, column]
                weights[place] += share * counts[row, column]
    return sums, weights


@pytest.mark.parametrize('grid', [2, 3, 8])
def test_sums_are_those_of_a_loop_over_cells(grid):
    maps, counted = _drawn()
    found = _of(maps, counted, grid=grid)
    for one, expected in zip(found, _by_loops(maps, counted, grid=grid), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.weights.sum(), counted.sum(), rtol=1e-6)


def test_what_is_read_is_that_of_a_loop_over_cells():
    layout = _of(*_drawn())
    means = np.asarray(layout.sums) / np.asarray(layout.weights)[..., None]
    found = np.asarray(layout.at(4, 6, jnp.asarray(BOXES)))
    assert found.shape == (3, 4, 6, 2)
    for index, box in enumerate(BOXES):
        for row, column, around in _cells((4, 6), box, GRID):
            expected = sum(share * means[place] for place, share in around)
            np.testing.assert_allclose(found[index, row, column], expected, rtol=1e-4, atol=1e-5)


def test_one_place_for_all_is_the_mean():
    maps, counted = _drawn()
    found = _of(maps, counted, grid=1).at(4, 6, jnp.asarray(BOXES))
    np.testing.assert_allclose(found, np.broadcast_to(maps[counted].mean(0), (3, 4, 6, 2)), rtol=1e-4, atol=1e-6)


def test_batches_after_one_another_are_all_of_them_at_once():
    (one, first), (other, second) = _drawn(0), _drawn(1)
    found = _of(other, second, begun=_of(one, first))
    both = np.concatenate([one, other]), np.concatenate([first, second]), np.concatenate([BOXES, BOXES])
    for part, expected in zip(found, _of(*both), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-5, atol=1e-5)


def test_cells_that_do_not_count_change_nothing():
    maps, counted = _drawn()
    changed = np.where(counted[..., None], maps, 1000).astype(np.float32)
    for one, other in zip(_of(changed, counted), _of(maps, counted), strict=True):
        np.testing.assert_array_equal(one, other)
    before = _of(maps, counted)
    for one, other in zip(_of(maps, np.zeros_like(counted), begun=before), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_maps_that_are_constant_are_found_again_everywhere():
    _, counted = _drawn()
    constant = np.broadcast_to(np.float32([3, -2]), (*counted.shape, 2))
    found = _of(constant, counted).at(9, 4, jnp.asarray(BOXES))
    np.testing.assert_allclose(found, np.broadcast_to([3, -2], found.shape), rtol=1e-5)


def test_what_nothing_was_seen_of_is_zero():
    maps, _ = _drawn()
    upper = np.broadcast_to(np.float32([0, 0, 0.5, 1]), (3, 4))
    found = np.asarray(_of(maps + 10, np.ones(maps.shape[:3], bool), upper, grid=8).at(8, 8, layouts.whole(1)))[0]
    assert (found[:4] > 5).all() and not found[5:].any()


def test_crops_that_are_all_of_an_image_give_the_layout_of_the_whole():
    """A ramp of 24 x 36 pixels that hold their places: between the places of the grid it is itself again."""
    rows, columns = np.mgrid[:24, :36]
    ramp = np.stack([(rows + 0.5) / 24, (columns + 0.5) / 36], -1).astype(np.float32)
    corners = [(row, column) for row in (0, 12) for column in (0, 18)]
    crops = np.stack([ramp[row : row + 12, column : column + 18] for row, column in corners])
    boxes = np.float32([[row / 24, column / 36, 0.5, 0.5] for row, column in corners])
    layout = _of(crops, np.ones(crops.shape[:3], bool), boxes, grid=6)
    whole = _of(ramp[None], np.ones((1, 24, 36), bool), layouts.whole(1), grid=6)
    for one, expected in zip(layout, whole, strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-4)
    found = np.asarray(layout.at(24, 36, layouts.whole(1)))[0]
    np.testing.assert_allclose(found[6:18, 9:27], ramp[6:18, 9:27], atol=1e-4)
    # A crop that is read is the same part of the whole.
    for one, (row, column) in zip(layout.at(12, 18, jnp.asarray(boxes)), corners, strict=True):
        np.testing.assert_allclose(one, found[row : row + 12, column : column + 18], atol=1e-5)


def test_boxes_of_whole_images():
    np.testing.assert_array_equal(layouts.whole(2), [[0, 0, 1, 1], [0, 0, 1, 1]])
