"""Cells that count, against the pixels at their centres."""

import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.errors import UserError
from ar_seg_jax.methods import void


@pytest.mark.parametrize(
    ('first_cell', 'rows', 'columns'),
    [(0.0, (0, 4, 8), (0, 4)), (0.5, (0, 4, 8), (0, 4)), (1.5, (1, 5, 9), (1, 5)), (None, (1, 5, 9), (1, 5))],
)
def test_a_cell_counts_as_the_pixel_at_its_centre(first_cell, rows, columns):
    mask = np.random.default_rng(0).random((2, 12, 8)) > 0.5
    batch = {'image': jnp.zeros((2, 12, 8, 3), jnp.uint8), 'mask': jnp.asarray(mask)}
    found = void.at_cells(batch, 3, 2, first_cell)
    np.testing.assert_array_equal(found, mask[:, rows][:, :, columns])


def test_centres_of_odd_images_are_pixels_of_them():
    mask = np.arange(11) % 2 == 1
    batch = {'image': jnp.zeros((1, 11, 11, 3), jnp.uint8), 'mask': jnp.asarray(np.broadcast_to(mask, (1, 11, 11)))}
    found = void.at_cells(batch, 6, 6, 1.5)
    np.testing.assert_array_equal(found[0, 0], mask[[1, 3, 5, 7, 8, 10]])


def test_all_cells_count_where_all_pixels_do():
    assert void.at_cells({'image': jnp.zeros((1, 8, 8, 3), jnp.uint8)}, 4, 4, 0.0).all()


@pytest.mark.parametrize('masked', [False, True])
def test_pixels_near_the_border_do_not_count(masked):
    counted = np.random.default_rng(0).random((2, 9, 7)) > 0.3
    batch = {'image': jnp.zeros((2, 9, 7, 3), jnp.uint8)} | ({'mask': jnp.asarray(counted)} if masked else {})
    found = np.asarray(void.inside(batch, 2))
    for image, row, column in np.ndindex(found.shape):
        far = min(row, 8 - row, column, 6 - column) >= 2
        assert found[image, row, column] == (far and (counted[image, row, column] or not masked))
    assert void.inside(batch, 0) is batch.get('mask')


@pytest.mark.parametrize('margin', [-1, 3])
def test_a_margin_that_leaves_no_pairs_is_refused(margin):
    void.check_margin(2, 3, 8, 9)
    with pytest.raises(
        UserError, match=rf'^method\.margin is at least 0 and leaves more than .* = 3 pixels .* 9 x 8 .* found {margin}$'
    ):
        void.check_margin(margin, 3, 8, 9)
