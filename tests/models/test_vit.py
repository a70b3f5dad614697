"""The vision transformer; that it computes what torch does is in training/test_published.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict
from scipy import ndimage

from ar_seg_jax.errors import UserError
from ar_seg_jax.models.vit import ViT, resampled
from configs import common
from tests.support import tiny

SMALL = {'patch': 4, 'width': 6, 'depth': 1, 'attention_heads': 2, 'grid': 3, 'normalise': 'none'}


def made(**options):
    chosen = {**common.vit(), **SMALL, **options}
    del chosen['name']
    return ViT(heads=FrozenDict({'decoder': 2}), **chosen)


def initialised(model):
    return jax.jit(model.init, compiler_options=tiny.QUICK)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def applied(model, variables, image):
    return jax.jit(model.apply, compiler_options=tiny.QUICK)(variables, jnp.asarray(image))


def random_images(count, height, width):
    return np.random.default_rng(0).normal(size=(count, height, width, 3)).astype(np.float32)


def test_images_of_any_size_are_continued_with_their_last_pixels_to_whole_patches():
    """Which are all in a patch then; the head is a linear map of the features."""
    model = made()
    variables = initialised(model)
    image = random_images(2, 14, 11)
    found = applied(model, variables, image)
    whole = applied(model, variables, np.pad(image, ((0, 0), (0, 2), (0, 1), (0, 0)), mode='edge'))
    assert found['features'].shape == (2, 4, 3, 6)
    np.testing.assert_array_equal(found['features'], whole['features'])
    head = jax.tree.map(np.asarray, variables['params']['decoder'])
    np.testing.assert_allclose(found['decoder'], np.asarray(found['features']) @ head['kernel'] + head['bias'], atol=1e-5)
    assert set(variables['params']) == {'encoder', 'decoder'}


def test_features_are_normalised_tokens_that_depend_on_the_whole_image():
    model = made()
    variables = initialised(model)
    image = random_images(1, 16, 16)
    found = applied(model, variables, image)['features']
    np.testing.assert_allclose(np.mean(found, axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(np.var(found, axis=-1), 1, rtol=1e-2)
    other = image.copy()
    other[:, -1, -1] += 3
    assert model.reach is None and np.abs(applied(model, variables, other)['features'] - found)[0, 0, 0].max() > 0


def test_cells_are_in_the_middle_of_their_patches():
    maps = np.random.default_rng(1).normal(size=(1, 3, 4, 2)).astype(np.float32)
    found = made().to_pixels(jnp.asarray(maps), 11, 16)
    for channel in range(2):
        places = np.meshgrid((np.arange(11) - 1.5) / 4, (np.arange(16) - 1.5) / 4, indexing='ij')
        expected = ndimage.map_coordinates(maps[0, :, :, channel], places, order=1, mode='nearest')
        np.testing.assert_allclose(found[0, :, :, channel], expected, atol=1e-5)
    assert made().output_stride == 4


def test_the_position_embedding_is_resampled_by_the_definition():
    """A slow loop over the sixteen neighbours of each place, with Keys' kernel for a = -0.75 and clamped indices."""

    def kernel(x, a=-0.75):
        x = abs(x)
        return (a + 2) * x**3 - (a + 3) * x**2 + 1 if x <= 1 else a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0

    native = np.random.default_rng(2).normal(size=(5, 5, 2))
    found = resampled(jnp.asarray(native, jnp.float32), 3, 8, 'dino')
    for row, column in np.ndindex(3, 8):
        y, x = (row + 0.5) * 5 / 3.1 - 0.5, (column + 0.5) * 5 / 8.1 - 0.5
        expected = sum(
            kernel(y - i) * kernel(x - j) * native[min(max(i, 0), 4), min(max(j, 0), 4)]
            for i in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3)
            for j in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3)
        )
        np.testing.assert_allclose(found[row, column], expected, atol=1e-5)


@pytest.mark.parametrize('resampling', ['dino', 'antialias'])
def test_the_native_position_embedding_is_not_resampled(resampling):
    native = jnp.asarray(np.random.default_rng(3).normal(size=(5, 5, 2)), jnp.float32)
    np.testing.assert_array_equal(resampled(native, 5, 5, resampling), native)


def test_bfloat16_is_near_float32_and_heads_are_float32():
    options = {'layer_scale': True, 'registers': 2}
    variables = initialised(made(**options))
    image = random_images(1, 16, 16)
    exact, near = (applied(made(**options, dtype=dtype), variables, image) for dtype in ('float32', 'bfloat16'))
    assert near['features'].dtype == jnp.bfloat16 and near['decoder'].dtype == jnp.float32
    assert np.abs(near['features'] - exact['features']).max() < 0.1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'depth': 0}, r'model\.depth is at least 1, found 0'),
        ({'registers': -1}, r'model\.registers is at least 0, found -1'),
        ({'attention_heads': 4}, r'model\.width divides into model\.attention_heads; found 6 and 4'),
    ],
)
def test_what_no_transformer_can_be_is_refused(options, message):
    with pytest.raises(UserError, match=rf'^{message}$'):
        made(**options)


def test_magnified_images_are_those_that_are_enlarged_before():
    """So that cells are smaller, and pixels find them where they are."""
    model, whole = made(magnify=2), made()
    variables, image = initialised(whole), random_images(2, 12, 8)
    found = applied(model, variables, image)
    enlarged = jax.image.resize(jnp.asarray(image), (2, 24, 16, 3), 'cubic')
    np.testing.assert_allclose(found['features'], applied(whole, variables, enlarged)['features'], atol=1e-5)
    assert (model.output_stride, model.first_cell) == (2, 0.5)
    rows = model.to_pixels(jnp.broadcast_to(jnp.arange(6.0)[None, :, None, None], (1, 6, 4, 1)), 12, 8)
    np.testing.assert_allclose(rows[0, 1:-1, 0, 0], (np.arange(1, 11) - 0.5) / 2, atol=1e-5)


def test_a_magnification_divides_the_patch():
    with pytest.raises(UserError, match=r'model.magnify divides model.patch \(4\), found 3'):
        made(magnify=3)
