"""The U-Nets: their sizes, their maps by a slow computation, where their cells look, batch statistics."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from ar_seg_jax.errors import UserError
from ar_seg_jax.models.compact_unet import CompactUNet
from ar_seg_jax.models.unet import UNet
from configs import common
from tests.support import tiny

WIDTHS = (2, 3, 4)
HEADS = FrozenDict({'attention': 2, 'appearance': 3})
FOR_LARGE_IMAGES = (48, 64, 96, 128, 128, 256, 256)


def unet(heads=HEADS, **options):
    chosen = {**common.unet(), 'widths': WIDTHS, **options}
    del chosen['name']
    return UNet(heads=heads, **chosen)


def compact(heads=HEADS, **options):
    chosen = {**common.compact_unet(), 'widths': WIDTHS, **options}
    del chosen['name']
    return CompactUNet(heads=heads, **chosen)


BOTH = pytest.mark.parametrize('make', [unet, compact])


def variables_of(model):
    return tiny.variables_of(model, jnp.zeros((1, 16, 16, 3)))


def applied(model, variables, image, **options):
    return jax.jit(lambda *each: model.apply(*each, **options), compiler_options=tiny.QUICK)(variables, jnp.asarray(image))


def images(count, height, width):
    return np.random.default_rng(1).uniform(size=(count, height, width, 3)).astype(np.float32)


def counts(model):
    """Parameters by the first part of their names."""
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))['params']
    found = {}
    for name, group in params.items():
        kind = name.partition('_')[0]
        found[kind] = found.get(kind, 0) + sum(leaf.size for leaf in jax.tree.leaves(group))
    return found


@pytest.mark.parametrize(
    ('slots', 'others', 'total'),
    [(10, 34, 22_251_432), (10, 35, 22_253_764), (6, 34, 22_242_304), (3, 35, 22_237_860)],
    ids=['CLEVR', 'CLEVRTEX', 'ShapeStacks', 'ObjectsRoom'],
)
def test_the_u_net_has_as_many_parameters_as_that_of_ast(slots, others, total):
    found = counts(unet(FrozenDict({'attention': slots, 'appearance': others}), widths=common.unet()['widths']))
    assert sum(found.values()) == total
    assert (found['first'], found['down'], found['centre'], found['up']) == (2_320, 5_693_696, 590_336, 15_882_272)


def test_a_larger_u_net_has_as_many_parameters_as_its_table_says():
    """Of each layer, by hand: kernels and two numbers of each batch norm."""

    def unit(inputs, outputs, size):
        return inputs * outputs * size**2 + 2 * outputs

    pairs = list(itertools.pairwise(FOR_LARGE_IMAGES))
    down = sum(unit(fine, coarse, 4) + unit(coarse, coarse, 3) for fine, coarse in pairs)
    up = sum(unit(2 * coarse, 2 * coarse, 3) + unit(2 * coarse, fine, 4) for fine, coarse in pairs)
    rest = unit(3, 48, 3) + unit(256, 256, 3) + unit(96, 20, 3) + 20 * 20 * 9
    found = counts(unet(FrozenDict({'attention': 5}), widths=FOR_LARGE_IMAGES, width=20))
    assert sum(found.values()) == down + up + rest + 20 * 5


def test_the_compact_u_net_has_a_million_parameters():
    found = counts(compact(FrozenDict({'attention': 6, 'appearance': 19}), widths=common.compact_unet()['widths']))
    assert sum(found.values()) == 1_027_488 + 48 * 25


class Slow:
    """One image, float64, cell by cell."""

    def __init__(self, variables):
        self.params, self.statistics = (
            jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables[part]) for part in ('params', 'batch_stats')
        )

    def unit(self, x, *path, stride=1, transposed_to=None, norm=True):
        params, statistics = self.params, self.statistics
        for part in path:
            params, statistics = params[part], statistics.get(part, {})
        if transposed_to:
            x = self.transposed(x, params['conv']['kernel'])[: transposed_to[0], : transposed_to[1]]
        else:
            x = self.convolved(x, params['conv']['kernel'] if norm else params['kernel'], stride)
        if not norm:
            return x
        norms = {**params['norm'], **statistics['norm']}
        x = (x - norms['mean']) / np.sqrt(norms['var'] + 1e-5) * norms['scale'] + norms['bias']
        return np.where(x > 0, x, np.expm1(x))

    @staticmethod
    def convolved(x, kernel, stride):
        """Padded by one on each side, which is even for 3x3 and for 4x4 with a stride of 2; by nothing for 1x1."""
        size = len(kernel)
        padded = np.pad(x, ((size > 1,) * 2, (size > 1,) * 2, (0, 0)))
        rows, columns = ((side - size) // stride + 1 for side in padded.shape[:2])
        found = np.zeros((rows, columns, kernel.shape[-1]))
        for row, column in np.ndindex(rows, columns):
            part = padded[row * stride :, column * stride :][:size, :size]
            found[row, column] = np.tensordot(part, kernel, 3)
        return found

    @staticmethod
    def transposed(x, kernel):
        """Every cell adds its kernel to the 4x4 pixels around it; with a row and a column beyond twice as many."""
        height, width, _ = x.shape
        found = np.zeros((2 * height + 2, 2 * width + 2, kernel.shape[-1]))
        for row, column in np.ndindex(height, width):
            found[2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += np.tensordot(x[row, column], kernel, (0, 2))
        return found[1:, 1:]

    def down(self, x, levels):
        maps = [x]
        for level in range(1, levels):
            x = self.unit(x, f'down_{level}', 'strided', stride=2)
            x = x + self.unit(x, f'down_{level}', 'residual')
            maps.append(x)
        return self.unit(x, 'centre'), maps


def heads_of(params, features):
    return {name: features @ np.asarray(params[name]['kernel'], np.float64) for name in HEADS}


def assert_maps(found, features, heads):
    np.testing.assert_allclose(found['features'][0], features, rtol=1e-4, atol=1e-5)
    for name, expected in heads.items():
        np.testing.assert_allclose(found[name][0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('size', [(8, 12), (11, 6)])
def test_maps_of_the_u_net_are_those_of_a_slow_computation(size):
    """Also of sides that are odd somewhere on the way down."""
    model, image = unet(), images(1, *size)
    variables = variables_of(model)
    slow = Slow(variables)
    x, maps = slow.down(slow.unit(np.float64(image[0]), 'first'), 3)
    for level in (2, 1):
        x = np.concatenate([x, maps[level]], axis=-1)
        x = x + slow.unit(x, f'up_{level}_residual')
        x = slow.unit(x, f'up_{level}', transposed_to=maps[level - 1].shape)
    x = slow.unit(np.concatenate([x, maps[0]], axis=-1), 'last')
    x = x + slow.unit(x, 'last_residual', norm=False)
    assert x.shape == (*size, 5)
    assert_maps(applied(model, variables, image), x, heads_of(variables['params'], x))


@pytest.mark.parametrize('size', [(16, 24), (22, 14)])
def test_maps_of_the_compact_u_net_are_those_of_a_slow_computation(size):
    model, image = compact(), images(1, *size)
    variables = variables_of(model)
    slow = Slow(variables)
    x, maps = slow.down(slow.unit(np.float64(image[0]), 'first', stride=2), 3)
    x = slow.unit(x, 'up_1', transposed_to=maps[1].shape)
    x = slow.unit(np.concatenate([x, maps[1]], axis=-1), 'joined_1')
    x = x + slow.unit(x, 'residual_1')
    assert x.shape == (size[0] // 4, size[1] // 4, 3)
    assert_maps(applied(model, variables, image), x, heads_of(variables['params'], x))


@BOTH
def test_an_image_of_one_pixel_is_one_cell(make):
    found = applied(make(), variables_of(make()), images(2, 1, 1))
    assert found['attention'].shape == (2, 1, 1, 2) and np.isfinite(found['attention']).all()
    assert make().to_pixels(found['attention'], 1, 1).shape == (2, 1, 1, 2)


@BOTH
def test_a_pixel_depends_on_the_image_as_far_as_the_model_reaches(make):
    """With positive weights nothing cancels, so that every dependency shows in a gradient."""
    model = make()
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1 / 8), variables_of(model))
    stride = model.tile_stride
    side, middle = 4 * stride + 2 * -(-model.reach // stride) * stride, -(-model.reach // stride) * stride + stride

    def scores(image):
        return model.to_pixels(model.apply(variables, image)['attention'], 1, side).sum(axis=(0, 1, 3))

    jacobian = jax.jit(jax.jacrev(lambda image: scores(image)[middle : middle + stride]), compiler_options=tiny.QUICK)
    seen = np.abs(jacobian(jnp.ones((1, 1, side, 3)))[:, 0, 0]).sum(axis=-1) > 0
    distances = []
    for pixel, places in zip(range(middle, middle + stride), map(np.flatnonzero, seen), strict=True):
        distances += [pixel - places.min(), places.max() - pixel]
    assert max(distances) == model.reach


@BOTH
def test_maps_of_an_image_that_is_moved_are_moved_where_its_edges_are_out_of_reach(make):
    model = make()
    variables = variables_of(model)
    reach, stride = model.reach, model.tile_stride
    width = 2 * (-(-reach // stride) + 2) * stride
    image = images(1, 8, width + stride)

    def interpolated(image):
        return model.to_pixels(model.apply(variables, image)['attention'], 8, width)

    apply = jax.jit(interpolated, compiler_options=tiny.QUICK)
    for moved, same in ((stride, True), (stride // 2, False)):
        one, other = (apply(image[:, :, start : start + width]) for start in (0, moved))
        here, there = one[:, :, moved + reach : width - reach], other[:, :, reach : width - reach - moved]
        assert here.shape == there.shape and here.shape[2] >= 2 * stride
        assert (np.abs(here - there).max() < 1e-5) == same


@BOTH
def test_training_normalises_with_the_batch_and_moves_running_statistics(make):
    model, image = make(), images(2, 16, 16)
    variables = variables_of(model)
    found, updated = applied(model, variables, image, train=True, mutable=['batch_stats'])
    kernel = np.asarray(variables['params']['first']['conv']['kernel'], np.float64)
    first = np.stack([Slow.convolved(np.float64(each), kernel, 2 if make is compact else 1) for each in image])
    moved, before = (tree['batch_stats']['first']['norm'] for tree in (updated, variables))
    for name, statistic in (('mean', first.mean(axis=(0, 1, 2))), ('var', first.var(axis=(0, 1, 2)))):
        np.testing.assert_allclose(moved[name], 0.9 * np.asarray(before[name]) + 0.1 * statistic, rtol=1e-4, atol=1e-6)
    assert jax.tree.structure(updated['batch_stats']) == jax.tree.structure(variables['batch_stats'])
    assert np.abs(found['features'] - applied(model, variables, image)['features']).max() > 0.1


@BOTH
def test_bfloat16_is_near_float32_and_heads_are_float32(make):
    variables, image = variables_of(make()), images(1, 16, 16)
    exact, near = (applied(make(dtype=dtype), variables, image) for dtype in ('float32', 'bfloat16'))
    assert near['features'].dtype == jnp.bfloat16 and near['attention'].dtype == jnp.float32
    assert np.abs(near['features'] - exact['features']).max() < 0.1 * np.abs(exact['features']).max()


def test_weights_are_drawn_as_torch_does():
    """Uniformly up to 1 / sqrt(fan_in), which for transposed convolutions is of the outputs."""
    params = jax.jit(unet(widths=(16, 24)).init, compiler_options=tiny.QUICK)(jax.random.key(0), images(1, 8, 8))['params']
    for kernel, fan_in in (
        (params['down_1']['strided']['conv']['kernel'], 16 * 16),
        (params['up_1']['conv']['kernel'], 16 * params['up_1']['conv']['kernel'].shape[-1]),
        (params['appearance']['kernel'], params['appearance']['kernel'].shape[0]),
    ):
        bound = fan_in**-0.5
        assert 0.9 * bound < np.abs(kernel).max() <= bound
        np.testing.assert_allclose(np.std(kernel), bound / np.sqrt(3), rtol=0.2)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'widths': (4,)}, r'model\.widths are at least 2 numbers of channels, all of them positive; found \(4,\)'),
        ({'widths': [4, 0]}, r'model\.widths are at least 2 numbers of channels, all of them positive; found \(4, 0\)'),
    ],
)
@BOTH
def test_wrong_widths_are_explained(make, options, message):
    with pytest.raises(UserError, match=rf'^{message}$'):
        make(**options)


def test_features_as_wide_as_no_heads_are_refused():
    with pytest.raises(UserError, match=r'^model\.width is at least 0, found -1$'):
        unet(width=-1)
    with pytest.raises(UserError, match=r'^model\.width is 0, which is as many as the heads have; this method wants none, so '):
        jax.eval_shape(unet(FrozenDict()).init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


@BOTH
def test_widths_of_a_saved_config_are_a_list_and_give_the_same_model(make):
    one, other = make(widths=[2, 3, 4]), make(widths=(2, 3, 4))
    assert one == other and hash(one) == hash(other)
