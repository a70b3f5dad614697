"""The two views of PiCIE: that their cells show the same places, and what counts there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from ar_seg_jax.errors import UserError
from ar_seg_jax.methods.views import PairedViews
from tests.support import tiny
from tests.support.cells import Cells

MODEL = Cells(FrozenDict())


class Patches(Cells):
    """Has cells that are centred between pixels, as those of a vision transformer."""

    output_stride = 4
    first_cell = 1.5


class Stretched(Cells):
    first_cell = None


PATCHES = Patches(FrozenDict())
KEY = jax.random.key(0)


def _ramps(images=6, side=48):
    """Images whose red and green are the row and the column of their pixels."""
    rows, columns = np.mgrid[:side, :side]
    return jnp.asarray(np.stack([np.stack([rows, columns, np.full_like(rows, index)], -1) for index in range(images)]), jnp.uint8)


def _cells(view, model=MODEL):
    """Row and column of what each cell of a model looks at."""
    if model is MODEL:
        return view[:, ::2, ::2] * 255
    images, height, width, channels = view.shape
    return view.reshape(images, height // 4, 4, width // 4, 4, channels).mean((2, 4)) * 255


@pytest.mark.parametrize(('model', 'shrink'), [(MODEL, 1), (MODEL, 2), (PATCHES, 1), (PATCHES, 2)])
def test_cells_of_both_views_show_the_same_places(model, shrink):
    """Rows and columns of the image, which interpolation does not change away from its edges."""
    image, views = _ramps(), PairedViews('none', 0.5, 0.5, shrink)
    drawn = views.draw(image, KEY)
    stride = model.output_stride * shrink
    first = _cells(views.first(model, image, drawn), model)
    second = views.cut(model, _cells(views.second(model, image, drawn), model), image, drawn)
    assert first.shape == second.shape == (6, 48 // stride, 48 // stride, 3)
    inside = np.asarray((first[..., :2] > stride) & (first[..., :2] < 48 - 2 * stride)).all(-1)
    assert inside.mean() > 0.2
    np.testing.assert_allclose(np.asarray(first)[inside], np.asarray(second)[inside], atol=0.1)
    sides = np.asarray(drawn.crops.height)
    middle = 24 // stride
    steps = np.abs(np.diff(np.asarray(first[:, :, middle, 0]), axis=1))[:, middle - 2 : middle + 1].mean(1)
    np.testing.assert_allclose(steps, stride * sides, rtol=1e-2)
    assert sides.min() >= 0.5 and sides.max() <= 1 and sides.std() > 0.05
    assert 0 < np.asarray(drawn.crops.flipped).mean() < 1


@pytest.mark.parametrize(('model', 'shrink'), [(MODEL, 1), (MODEL, 2), (PATCHES, 1), (PATCHES, 2)])
def test_what_counts_follows_its_pixels(model, shrink):
    """Only pixels of rows from 20 to 27 and columns from 24 on count."""
    image, views = _ramps(), PairedViews('none', 0.5, 0.5, shrink)
    drawn = views.draw(image, KEY)
    rows, columns = np.mgrid[:48, :48]
    mask = jnp.asarray(np.broadcast_to((rows >= 20) & (rows < 28) & (columns >= 24), (6, 48, 48)))
    places = np.asarray(_cells(views.first(model, image, drawn), model))
    found = np.asarray(views.counted(model, jnp.zeros((*places.shape[:3], 1)), {'image': image, 'mask': mask}, drawn))
    row, column = places[..., 0], places[..., 1]
    surely = (row > 20.5) & (row < 26.5) & (column > 24.5) & (column < 45)
    never = (row < 18.5) | (row > 28.5) | (column < 22.5)
    assert surely.any() and found[surely].all() and not found[never].any()


def test_images_are_seen_smaller_by_averages_and_their_maps_lie_where_they_were():
    image, views = _ramps(1), PairedViews('none', 0.5, 0.5, 2)
    seen = views.whole(MODEL, image)
    expected = jax.image.resize(jnp.float32(image) / 255, (1, 24, 24, 3), 'linear', antialias=True)
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    found = views.to_pixels(MODEL, _cells(seen), 48, 48)
    np.testing.assert_allclose(found[:, 6:-8, 6:-8], image[:, 6:-8, 6:-8], atol=1e-3)
    odd = views.to_pixels(MODEL, _cells(views.whole(MODEL, image[:, :41, :37])), 41, 37)
    np.testing.assert_allclose(odd[:, 6:-8, 6:-8], image[:, 6:33, 6:29], atol=1e-3)
    assert PairedViews('none', 0.5, 0.5, 1).reach(MODEL) == 2 and views.reach(MODEL) == 8


def test_views_follow_from_pixels_and_key_and_colours_differ_between_the_two():
    image, views = tiny.random_batch()['image'], PairedViews('paper', 0.5, 0.5, 1)
    draw, first_of, second_of = (
        jax.jit(function, compiler_options=tiny.QUICK)
        for function in (views.draw, functools.partial(views.first, MODEL), functools.partial(views.second, MODEL))
    )
    drawn, again = draw(image, KEY), draw(image[::-1], KEY)
    first = first_of(image, drawn)
    np.testing.assert_allclose(first_of(image[::-1], again)[::-1], first, atol=1e-6)
    assert float(jnp.abs(first_of(image, draw(image, jax.random.key(1))) - first).max()) > 0.1
    whole, other = views.whole(MODEL, image), second_of(image, drawn)
    assert (np.abs(other - whole).max((1, 2, 3)) > 0.05).mean() > 0.5
    swapped = second_of(image, drawn._replace(second=drawn.first))
    assert (np.abs(other - swapped).max((1, 2, 3)) > 0.05).mean() > 0.5


def test_stretched_maps_have_no_parts():
    with pytest.raises(
        UserError, match=r"on a regular grid of pixels, .*; choose another model, or set model\.geometry to 'alig"
    ):
        PairedViews('none', 0.5, 0.5, 1).check(Stretched(FrozenDict()))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('none', 0.0, 0.5, 1), r'method\.smallest_crop is a share of the sides of an image, above 0 to 1; found 0\.0'),
        (('none', 0.5, 0.5, 0), r'method\.shrink is at least 1 pixel, found 0'),
        (('none', 0.5, 1.5, 1), r'method\.flip is a probability, 0 to 1; found 1\.5'),
    ],
)
def test_what_cannot_be_is_explained(options, message):
    with pytest.raises(UserError, match=message):
        PairedViews(*options)
