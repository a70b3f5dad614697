"""Maps brought to pixels by the image: against a loop, along edges, and as an option of the methods on frozen encoders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from ar_seg_jax import build
from ar_seg_jax.errors import UserError
from ar_seg_jax.methods import upsampling
from configs import common
from tests.support import methods, tiny


def _by_loops(maps, image, stride, first):
    batch, height, width, _ = image.shape
    rows, columns = maps.shape[1:3]

    def pixels(cell, length):
        centre = first + stride * cell
        return [pixel for pixel in range(length) if abs(pixel - centre) <= (stride - 1) / 2]

    colours = np.stack(
        [
            [
                [one[pixels(row, height)][:, pixels(column, width)].mean((0, 1)) for column in range(columns)]
                for row in range(rows)
            ]
            for one in image
        ]
    )
    found = np.zeros((batch, height, width, maps.shape[-1]))
    for number, y, x in np.ndindex(batch, height, width):
        total = 0
        at = (y - first) / stride, (x - first) / stride
        nearest = [int(np.clip(np.round(place), 0, cells - 1)) for place, cells in zip(at, (rows, columns), strict=True)]
        for row in range(max(nearest[0] - 2, 0), min(nearest[0] + 3, rows)):
            for column in range(max(nearest[1] - 2, 0), min(nearest[1] + 3, columns)):
                distance = ((at[0] - row) ** 2 + (at[1] - column) ** 2) / 0.5**2
                unlike = np.sum((image[number, y, x] - colours[number, row, column]) ** 2) / 0.1**2
                weight = np.exp(-distance / 2) * (np.exp(-unlike / 2) + 1e-6)
                found[number, y, x] += weight * maps[number, row, column]
                total += weight
        found[number, y, x] /= total
    return found


@pytest.mark.parametrize(('stride', 'first', 'size'), [(4, 1.5, (16, 12)), (4, 0.0, (14, 11)), (3, 1.0, (8, 9))])
def test_a_pixel_gets_the_mean_of_the_cells_around_it_by_distance_and_colour(stride, first, size):
    rng = np.random.default_rng(0)
    cells = [-(-length // stride) for length in size]
    maps, image = rng.normal(size=(2, *cells, 3)), rng.random((2, *size, 3))
    found = upsampling.bilateral(jnp.asarray(maps, jnp.float32), jnp.asarray(image, jnp.float32), stride, first)
    np.testing.assert_allclose(found, _by_loops(maps, image, stride, first), rtol=1e-3, atol=1e-5)


def test_edges_of_the_image_become_those_of_the_maps():
    """The edge is in the middle of the sixth cell, whose map is that of the cells on the left."""
    image = np.zeros((1, 32, 32, 3), np.float32)
    image[:, :, 22:] = 1
    maps = np.where(np.arange(8) < 6, 1.0, 0.0)[None, None, :, None] * np.ones((1, 8, 1, 1))
    found = np.asarray(upsampling.bilateral(jnp.asarray(maps, jnp.float32), jnp.asarray(image), 4, 1.5))[0, ..., 0]
    np.testing.assert_allclose(found[:, :22], 1, atol=0.01)
    np.testing.assert_allclose(found[:, 22:], 0, atol=0.01)


def test_pixels_unlike_all_cells_take_those_around_them_by_distance_alone():
    """A bright dot, whose cell is nearly as dark as the others."""
    image = np.zeros((1, 16, 16, 3), np.float32)
    image[0, 5, 5] = 1
    maps = np.random.default_rng(0).normal(size=(1, 4, 4, 2))
    found = upsampling.bilateral(jnp.asarray(maps, jnp.float32), jnp.asarray(image), 4, 1.5)
    along = np.exp(-(((5 - 1.5) / 4 - np.arange(4)) ** 2) / (2 * 0.5**2))
    weights = along[:, None] * along
    np.testing.assert_allclose(found[0, 5, 5], np.tensordot(weights / weights.sum(), maps[0], 2), rtol=1e-3)


def test_a_program_for_images_of_any_size_computes_the_same(as_users_have_it):
    def upsampled(maps, image):
        return upsampling.bilateral(maps, image, 4, 1.5)

    height, width = export.symbolic_shape('h, w')
    sizes = (1, (height + 3) // 4, (width + 3) // 4, 2), (1, height, width, 3)
    shapes = (jax.ShapeDtypeStruct(size, jnp.float32) for size in sizes)
    program = export.export(jax.jit(upsampled))(*shapes)
    rng = np.random.default_rng(0)
    maps, image = (jnp.asarray(rng.random(shape), jnp.float32) for shape in ((1, 4, 3, 2), (1, 14, 11, 3)))
    np.testing.assert_allclose(program.call(maps, image), upsampled(maps, image), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('name', ['smooseg', 'stego'])
def test_it_is_an_option_of_predictions(name):
    model = methods.config(name)['model']
    made = {
        kind: build.method({'method': getattr(common, name)() | methods.SMALL[name] | {'upsampling': kind}, 'model': model})
        for kind in ('bilinear', 'bilateral')
    }
    image = tiny.random_batch(2)['image']
    state = made['bilinear'].init(jax.random.key(0), image)
    outputs = {kind: method.predict(*state, image) for kind, method in made.items()}
    assert getattr(common, name)()['upsampling'] == 'bilinear'
    np.testing.assert_array_equal(outputs['bilinear']['logits'], outputs['bilateral']['logits'])
    assert not np.allclose(outputs['bilinear']['scores'], outputs['bilateral']['scores'], atol=1e-3)
    np.testing.assert_allclose(outputs['bilateral']['scores'].sum(-1), 1, rtol=1e-5)


def test_it_wants_cells_on_a_grid_of_pixels():
    options = {'method': common.smooseg() | {'upsampling': 'bilateral'}, 'model': common.vgg() | {'geometry': 'paper'}}
    with pytest.raises(UserError, match=r"'bilateral' needs a model whose cells lie on a regular grid"):
        build.method(options).check((8, 16, 16, 3), 1)
    with pytest.raises(UserError, match=r"method\.upsampling is one of bilinear, bilateral; found 'guided'"):
        build.method({**options, 'method': common.smooseg() | {'upsampling': 'guided'}})
