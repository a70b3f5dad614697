"""The two views of PiCIE: that their cells show the same places, and what counts there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from ar_seg_jax.errors import UserError
from ar_seg_jax.methods.views import Views
from tests.support import tiny
from tests.support.cells import Cells

MODEL = Cells(FrozenDict())
KEY = jax.random.key(0)


def _ramps(images=6, side=48):
    """Images whose red and green are the row and the column of their pixels."""
    rows, columns = np.mgrid[:side, :side]
    return jnp.asarray(np.stack([np.stack([rows, columns, np.full_like(rows, index)], -1) for index in range(images)]), jnp.uint8)


def _cells(view):
    return view[:, ::2, ::2] * 255


@pytest.mark.parametrize('shrink', [1, 2])
def test_cells_of_both_views_show_the_same_places(shrink):
    """Rows and columns of the image, which interpolation does not change away from its edges."""
    image, views = _ramps(), Views('none', 0.5, shrink)
    drawn = views.draw(image, KEY)
    first = _cells(views.first(MODEL, image, drawn))
    second = views.cut(MODEL, _cells(views.second(MODEL, image, drawn)), image, drawn)
    assert first.shape == second.shape == (6, 24 // shrink, 24 // shrink, 3)
    inside = np.asarray((first[..., :2] > 2 * shrink) & (first[..., :2] < 48 - 2 * shrink * 2)).all(-1)
    assert inside.mean() > 0.4
    np.testing.assert_allclose(np.asarray(first)[inside], np.asarray(second)[inside], atol=0.1)
    sides = np.asarray(drawn.crops.height)
    steps = np.abs(np.diff(np.asarray(first[:, :, 10 // shrink, 0]), axis=1))[:, 4:8].mean(1)
    np.testing.assert_allclose(steps, 2 * shrink * sides, rtol=1e-2)
    assert sides.min() >= 0.5 and sides.max() <= 1 and sides.std() > 0.05
    assert 0 < np.asarray(drawn.crops.flipped).mean() < 1


@pytest.mark.parametrize('shrink', [1, 2])
def test_what_counts_follows_its_pixels(shrink):
    """Only pixels of rows from 20 to 27 and columns from 24 on count."""
    image, views = _ramps(), Views('none', 0.5, shrink)
    drawn = views.draw(image, KEY)
    rows, columns = np.mgrid[:48, :48]
    mask = jnp.asarray(np.broadcast_to((rows >= 20) & (rows < 28) & (columns >= 24), (6, 48, 48)))
    places = np.asarray(_cells(views.first(MODEL, image, drawn)))
    found = np.asarray(views.counted(MODEL, jnp.zeros((6, 24 // shrink, 24 // shrink, 1)), {'image': image, 'mask': mask}, drawn))
    row, column = places[..., 0], places[..., 1]
    surely = (row > 20.5) & (row < 26.5) & (column > 24.5) & (column < 45)
    never = (row < 18.5) | (row > 28.5) | (column < 22.5)
    assert surely.any() and found[surely].all() and not found[never].any()


def test_images_are_seen_smaller_by_averages_and_their_maps_lie_where_they_were():
    image, views = _ramps(1), Views('none', 0.5, 2)
    seen = views.whole(MODEL, image)
    expected = jax.image.resize(jnp.float32(image) / 255, (1, 24, 24, 3), 'linear', antialias=True)
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    found = views.to_pixels(MODEL, _cells(seen), 48, 48)
    np.testing.assert_allclose(found[:, 6:-8, 6:-8], image[:, 6:-8, 6:-8], atol=1e-3)
    odd = views.to_pixels(MODEL, _cells(views.whole(MODEL, image[:, :41, :37])), 41, 37)
    np.testing.assert_allclose(odd[:, 6:-8, 6:-8], image[:, 6:33, 6:29], atol=1e-3)
    assert Views('none', 0.5, 1).reach(MODEL) == 2 and views.reach(MODEL) == 8


def test_views_follow_from_pixels_and_key_and_colours_differ_between_the_two():
    image, views = tiny.random_batch()['image'], Views('paper', 0.5, 1)
    drawn, again = views.draw(image, KEY), views.draw(image[::-1], KEY)
    first = views.first(MODEL, image, drawn)
    np.testing.assert_allclose(views.first(MODEL, image[::-1], again)[::-1], first, atol=1e-6)
    assert float(jnp.abs(views.first(MODEL, image, views.draw(image, jax.random.key(1))) - first).max()) > 0.1
    whole, other = views.whole(MODEL, image), views.second(MODEL, image, drawn)
    assert (np.abs(other - whole).max((1, 2, 3)) > 0.05).mean() > 0.5
    swapped = views.second(MODEL, image, drawn._replace(second=drawn.first))
    assert (np.abs(other - swapped).max((1, 2, 3)) > 0.05).mean() > 0.5


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('none', 0.0, 1), r'method\.smallest_crop is a share of the sides of an image, above 0 to 1; found 0\.0'),
        (('none', 0.5, 0), r'method\.shrink is at least 1 pixel, found 0'),
    ],
)
def test_what_cannot_be_is_explained(options, message):
    with pytest.raises(UserError, match=message):
        Views(*options)
