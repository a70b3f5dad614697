"""The network of PiCIE: its size, its maps by another way, and where its cells are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict
from scipy import ndimage

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Method, Model
from ar_seg_jax.models.resnet_fpn import ResNetFPN
from configs import common
from tests.support import tiny

SMALL = {'width': 5, 'base_channels': 4, 'normalise': 'none'}


def made(heads=None, **options):
    chosen = {**common.resnet_fpn(), **SMALL, **options}
    del chosen['name']
    return ResNetFPN(heads=FrozenDict(heads or {}), **chosen)


def variables_of(model, seed=0):
    """Drawn, with batch norms as after some training."""
    variables = jax.jit(model.init, compiler_options=tiny.QUICK)(jax.random.key(seed), jnp.zeros((1, 32, 32, 3)))
    rng = np.random.default_rng(seed)
    centres = {'bias': 0.5, 'mean': 0.0, 'scale': 1.0, 'var': 1.0}

    def trained(path, leaf):
        centre = centres.get(path[-1].key)
        return leaf if centre is None else jnp.asarray(centre + rng.uniform(-0.5, 0.5, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(trained, variables)


def applied(model, variables, image):
    return jax.jit(model.apply, compiler_options=tiny.QUICK)(variables, jnp.asarray(image))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameters_are_as_many_as_in_the_paper_s_network():
    """torchvision's ResNet-18 without its classifier, and four 1x1 convolutions with a bias; a head comes on top."""
    model = made({'decoder': 27}, width=128, base_channels=64)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    params = variables['params']
    head = params.pop('decoder')
    assert count(params['resnet']) == 11_176_512
    assert count(params) - count(params['resnet']) == 123_392 and count(params) == 11_299_904
    assert {name: leaf['kernel'].shape for name, leaf in params.items() if name != 'resnet'} == {
        'lateral_res2': (64, 128),
        'lateral_res3': (128, 128),
        'lateral_res4': (256, 128),
        'lateral_res5': (512, 128),
    }
    assert count(head) == 129 * 27
    assert count(variables['batch_stats']) == 9_600  # as many as there are scales and biases of batch norms


@pytest.mark.parametrize(('height', 'width'), [(32, 64), (17, 23), (1, 33)])
def test_maps_are_those_of_stride_4_for_images_of_any_size(height, width):
    model = made({'decoder': 3})
    image = jnp.zeros((2, height, width, 3))
    maps, _ = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), image))
    cells = (-(-height // 4), -(-width // 4))
    assert maps['features'].shape == (2, *cells, 5) and maps['decoder'].shape == (2, *cells, 3)
    assert jax.eval_shape(lambda: model.to_pixels(jnp.zeros((2, *cells, 3)), height, width)).shape == (2, height, width, 3)


def doubled(coarse, height, width, geometry):
    """Twice as many cells in both directions, bilinear: cell i lies at the finer cell 2 i, or 2 i + 0.5 in the paper's geometry.

    Outermost cells are repeated. scipy interpolates at places in a map.
    """
    displaced = 0.5 if geometry == 'paper' else 0.0
    places = np.meshgrid((np.arange(height) - displaced) / 2, (np.arange(width) - displaced) / 2, indexing='ij')
    return np.stack([ndimage.map_coordinates(plane, places, order=1, mode='nearest') for plane in np.moveaxis(coarse, -1, 0)], -1)


@pytest.mark.parametrize(('geometry', 'height', 'width'), [('centred', 41, 54), ('paper', 64, 32)])
def test_features_are_the_sum_of_projected_stages(geometry, height, width):
    model = made({'decoder': 3}, geometry=geometry)
    variables = variables_of(model)
    image = np.random.default_rng(1).uniform(size=(1, height, width, 3)).astype(np.float32)

    def with_stages(variables, image):
        return model.apply(variables, image, capture_intermediates=lambda module, _: module.name == 'resnet')

    found, captured = jax.jit(with_stages, compiler_options=tiny.QUICK)(variables, image)
    (stages,) = captured['intermediates']['resnet']['__call__']
    assert all(np.ptp(stage, axis=(1, 2)).max() > 0.1 for stage in stages)
    params, total = jax.tree.map(np.asarray, variables['params']), None
    for stage, number in zip(reversed(stages), (5, 4, 3, 2), strict=True):
        lateral = params[f'lateral_res{number}']
        projected = np.asarray(stage[0]) @ lateral['kernel'] + lateral['bias']
        total = projected if total is None else doubled(total, *projected.shape[:2], geometry) + projected
    np.testing.assert_allclose(found['features'][0], total, rtol=1e-4, atol=1e-5)
    head = params['decoder']
    np.testing.assert_allclose(found['decoder'][0], total @ head['kernel'] + head['bias'], rtol=1e-4, atol=1e-5)
    assert np.ptp(total) > 0.1


def test_half_pixel_interpolation_is_that_of_pillow():
    """The paper's geometry for sides that divide by 4."""
    from PIL import Image

    maps = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    found = made(geometry='paper').to_pixels(jnp.asarray(maps)[None, :, :, None], 20, 28)[0, :, :, 0]
    np.testing.assert_allclose(found, Image.fromarray(maps).resize((28, 20), Image.Resampling.BILINEAR), atol=1e-5)


def test_a_cell_looks_at_its_pixel():
    """A picture that is the same from left to right and turned over has the same maps, with cells at pixels 0, 4, ... 128."""
    model = made()
    variables = variables_of(model)
    # Kernels that are the same from left to right too.
    variables['params'] = jax.tree.map(lambda leaf: (leaf + leaf[:, ::-1]) / 2 if leaf.ndim == 4 else leaf, variables['params'])
    image = np.random.default_rng(2).uniform(size=(1, 33, 129, 3)).astype(np.float32)
    one, other = (applied(model, variables, x)['features'] for x in (image, image[:, :, ::-1]))
    assert one.shape[2] == 33
    np.testing.assert_allclose(one, other[:, :, ::-1], atol=1e-5)
    assert np.abs(one - other).max() > 1e-2


@pytest.mark.parametrize('geometry', ['centred', 'paper'])
def test_a_pixel_depends_on_the_image_as_far_as_the_model_reaches(geometry):
    """With positive weights nothing cancels, so that every dependency shows in a gradient."""
    model = made(geometry=geometry)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1 / 8), variables_of(model))
    side, middle = 3 * 32 + 2 * model.reach, model.reach + 32

    def scores(image):
        return model.to_pixels(model.apply(variables, image)['features'], 1, side).sum(axis=(0, 1, 3))

    image = jnp.ones((1, 1, side, 3))

    @jax.jit
    def seen(pixel):
        return jax.grad(lambda image: scores(image)[pixel])(image)[0, 0, :, 0]

    distances = []
    for pixel in range(middle, middle + 32):
        places = np.flatnonzero(seen(pixel))
        distances += [pixel - places.min(), places.max() - pixel]
    assert max(distances) == model.reach


def test_maps_of_an_image_that_is_moved_are_moved_where_its_edges_are_out_of_reach():
    """By 32 pixels, at whose multiples images are cut; by the 4 pixels of a cell they are other maps."""
    model = made()
    variables = variables_of(model)
    reach, stride = model.reach, model.tile_stride
    width = 2 * reach + 4 * stride
    image = np.random.default_rng(4).uniform(size=(1, 8, width + stride, 3)).astype(np.float32)

    def interpolated(image):
        return model.to_pixels(model.apply(variables, image)['features'], 8, width)

    apply = jax.jit(interpolated, compiler_options=tiny.QUICK)
    for moved, same in ((stride, True), (4, False)):
        one, other = (apply(image[:, :, start : start + width]) for start in (0, moved))
        here, there = one[:, :, moved + reach : width - reach], other[:, :, reach : width - reach - moved]
        assert here.shape == there.shape and here.shape[2] >= 2 * stride
        difference = np.abs(here - there).max()
        assert difference < 1e-5 if same else difference > 1e-2


def test_a_method_cuts_images_for_the_coarsest_cells_of_its_model():
    assert isinstance(made(), Model)

    @dataclasses.dataclass(frozen=True)
    class Cutting(Method):
        model: Model

        def init(self, key, image): ...
        def forward(self, params, extra, batch, *, key, time, part=0): ...
        def objective(self, outputs, batch, *, time): ...
        def predict(self, params, extra, image): ...

    assert (Cutting(made()).output_stride, Cutting(tiny.autoregressive()).output_stride) == (32, 4)


def test_the_model_normalises_as_its_option_says():
    assert made(normalise='none').normalisation.mean == ()
    mean, deviation = made(normalise='imagenet').normalisation
    assert (mean, deviation) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for name in ('width', 'base_channels'):
        with pytest.raises(UserError, match=rf'^model\.{name} is at least 1, found 0$'):
            made(**{name: 0})


def test_bfloat16_is_near_float32_and_heads_are_float32():
    variables = variables_of(made({'decoder': 3}))
    image = np.random.default_rng(3).uniform(size=(1, 32, 40, 3)).astype(np.float32)
    exact, near = (applied(made({'decoder': 3}, dtype=dtype), variables, image) for dtype in ('float32', 'bfloat16'))
    assert near['features'].dtype == jnp.bfloat16 and near['decoder'].dtype == jnp.float32
    scale = np.ptp(exact['decoder'])
    assert np.abs(near['decoder'] - exact['decoder']).max() < 0.05 * scale
