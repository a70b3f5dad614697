"""Colours as a model: what they are, and what lights do to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from ar_seg_jax.models.colours import Colours
from configs import common


def _colours(relative='none', heads=None, **options):
    chosen = {**common.colours(), 'relative': relative, **options}
    del chosen['name']
    return Colours(heads=FrozenDict(heads or {}), **chosen)


def _features(image, **options):
    model = _colours(**options)
    return model.apply(model.init(jax.random.key(0), image), image)['features']


@pytest.fixture(scope='module')
def image():
    return jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.5, (2, 6, 8, 4)), jnp.float32)


def test_features_are_the_colours(image):
    model = _colours()
    maps, variables = model.init_with_output(jax.random.key(0), image)
    assert set(maps) == {'features'} and not jax.tree.leaves(variables)
    np.testing.assert_array_equal(maps['features'], image)
    np.testing.assert_array_equal(model.to_pixels(maps['features'], 6, 8), image)
    assert (model.output_stride, model.first_cell) == (1, 0.0)


def test_relative_colours_are_divided_by_twice_the_mean_of_their_image(image):
    found = np.asarray(_features(image, relative='mean'))
    for index, channel in np.ndindex(2, 4):
        plane = np.float64(image[index, ..., channel])
        np.testing.assert_allclose(found[index, ..., channel], plane / (2 * plane.mean()), rtol=1e-5)


def test_relative_colours_are_the_same_in_other_lights(image):
    """Each image has its own light, with its own share of each channel."""
    lights = jnp.asarray(np.random.default_rng(1).uniform(0.3, 2, (2, 1, 1, 4)), jnp.float32)
    plain, relative = (np.asarray(_features(image * lights, relative=kind)) for kind in ('none', 'mean'))
    np.testing.assert_allclose(relative, _features(image, relative='mean'), rtol=1e-5)
    assert np.abs(plain - np.asarray(image)).max() > 0.1


def test_images_that_are_black_or_nearly_stay_finite_and_dark():
    image = np.zeros((2, 16, 16, 3), np.float32)
    image[1, 0, 0] = 1 / 255
    found = np.asarray(_features(jnp.asarray(image), relative='mean'))
    assert np.isfinite(found).all() and not found[0].any()
    np.testing.assert_allclose(found[1, 0, 0], 0.5, rtol=1e-6)  # as in an image of nothing else


@pytest.mark.parametrize('relative', ['none', 'mean'])
def test_it_reaches_as_far_as_it_says(relative, image):
    """A pixel depends on itself alone; on all pixels where colours are relative."""
    reach = _colours(relative).reach
    changed = _features(image.at[0, 2, 3].add(0.2), relative=relative) != _features(image, relative=relative)
    elsewhere = np.array(changed.any(-1))[0]
    assert elsewhere[2, 3] and not changed[1].any()
    elsewhere[2, 3] = False
    assert elsewhere.any() == (reach is None) and reach in (0, None)


def test_heads_are_linear_maps_of_the_features(image):
    model = _colours('mean', {'decoder': 5, 'other': 2})
    maps, variables = model.init_with_output(jax.random.key(0), image)
    for name, width in (('decoder', 5), ('other', 2)):
        kernel, bias = (np.asarray(variables['params'][name][part]) for part in ('kernel', 'bias'))
        assert kernel.shape == (4, width)
        np.testing.assert_allclose(maps[name], np.asarray(maps['features']) @ kernel + bias, rtol=1e-4, atol=1e-5)


def test_heads_may_be_computed_in_half_precision(image):
    model = _colours(heads={'decoder': 5}, dtype='bfloat16')
    maps, variables = model.init_with_output(jax.random.key(0), image)
    exact = _colours(heads={'decoder': 5}).apply(variables, image)['decoder']
    assert maps['decoder'].dtype == maps['features'].dtype == jnp.float32
    assert bool((maps['decoder'] != exact).any())
    np.testing.assert_allclose(maps['decoder'], exact, atol=0.02)
