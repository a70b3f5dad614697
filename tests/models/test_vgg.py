"""The network of IIC: its sizes and counts, its two geometries, its layers against a slow computation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict
from scipy import signal

from ar_seg_jax.errors import UserError
from ar_seg_jax.models.vgg import VGG
from configs import common


def _vgg(heads=None, **options) -> VGG:
    chosen = {**common.vgg(), 'channels': 2, **options}
    del chosen['name']
    return VGG(heads=FrozenDict(heads or {'decoder': 3}), **chosen)


def _count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ('channels', 'clusters', 'auxiliary', 'total'),
    [(5, 3, 15, 4_512_960), (5, 15, 45, 4_534_464), (4, 3, 24, 4_516_992), (4, 6, 36, 4_524_672)],
    ids=['coco3', 'coco15', 'potsdam3', 'potsdam6'],
)
@pytest.mark.parametrize('geometry', ['aligned', 'paper'])
def test_parameters_are_as_many_as_in_iic(geometry, channels, clusters, auxiliary, total):
    model = _vgg({'decoder': clusters, 'auxiliary_decoder': auxiliary}, channels=64, geometry=geometry)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 128, 128, channels)))['params']
    assert _count(params) == total


@pytest.mark.parametrize(('side', 'cells'), [(128, 62), (200, 98)])
def test_maps_have_the_sizes_of_iic(side, cells):
    image = jnp.zeros((1, side, side, 5))
    for geometry, expected in (('paper', cells), ('aligned', side // 2)):
        maps, _ = jax.eval_shape(_vgg(geometry=geometry).init_with_output, jax.random.key(0), image)
        assert maps['decoder'].shape == (1, expected, expected, 3) and maps['features'].shape == (1, expected, expected, 16)


def _slow(params, statistics, image, lost):
    """One image, channel by channel, by scipy; without the outermost `lost` cells of each of the dilated convolutions."""
    x = np.asarray(image, np.float64)
    for index, dilation in enumerate((1, 1, 1, 1, 2, 2)):
        kernel = np.asarray(params[f'conv_{index}']['kernel'], np.float64)
        wide = np.zeros((2 * dilation + 1, 2 * dilation + 1, *kernel.shape[2:]))
        wide[::dilation, ::dilation] = kernel
        x = np.stack(
            [
                sum(signal.correlate2d(x[..., i], wide[..., i, o], 'same') for i in range(wide.shape[2]))
                for o in range(wide.shape[3])
            ],
            axis=-1,
        )
        if dilation == 2 and lost:
            x = x[lost:-lost, lost:-lost]
        norm = {**params[f'norm_{index}'], **statistics[f'norm_{index}']}
        mean, variance, scale, bias = (np.asarray(norm[name], np.float64) for name in ('mean', 'var', 'scale', 'bias'))
        x = np.maximum((x - mean) / np.sqrt(variance + 1e-5) * scale + bias, 0)
        if index == 1:
            x = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).max(axis=(1, 3))
    return x


@pytest.mark.parametrize(('geometry', 'lost'), [('aligned', 0), ('paper', 1)])
def test_layers_are_those_of_a_slow_computation(geometry, lost):
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.uniform(size=(1, 18, 16, 3)), jnp.float32)
    model = _vgg(geometry=geometry)
    variables = jax.jit(model.init)(jax.random.key(0), image)
    variables = jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.normal(0, 0.1, leaf.shape) ** 2, leaf.dtype), variables)
    maps = model.apply(variables, image)
    expected = np.pad(_slow(variables['params'], variables['batch_stats'], image[0], lost), ((lost, lost), (lost, lost), (0, 0)))
    np.testing.assert_allclose(maps['features'][0], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        maps['decoder'][0], expected @ np.asarray(variables['params']['decoder']['kernel']), rtol=1e-3, atol=1e-3
    )
    if lost:
        ring = np.ones(maps['decoder'].shape[1:3], bool)
        ring[1:-1, 1:-1] = False
        assert not np.asarray(maps['decoder'])[0, ring].any() and np.asarray(maps['decoder'])[0, ~ring].any()


def test_weights_begin_kaiming_normal():
    params = _vgg(channels=16).init(jax.random.key(0), jnp.zeros((1, 16, 16, 5)))['params']
    for name in ('conv_1', 'conv_5', 'decoder'):
        kernel = np.asarray(params[name]['kernel'])
        np.testing.assert_allclose(kernel.std(), np.sqrt(2 / kernel[..., 0].size), rtol=0.15)
    kernel = np.asarray(params['conv_5']['kernel']).ravel()
    assert np.abs(kernel).max() > 3.5 * kernel.std()  # not cut off


def test_pixels_are_interpolated_where_cells_are():
    """A ramp over the pixels, averaged by cells of two, is itself again; the paper's stretches it about the middle."""
    columns = np.arange(16, dtype=np.float32)
    cells = jnp.asarray(np.broadcast_to(columns.reshape(8, 2).mean(axis=1)[None, None, :, None], (1, 8, 8, 1)))
    found = _vgg().to_pixels(cells, 16, 16)
    np.testing.assert_allclose(found[0, 4, 1:-1, 0], columns[1:-1], atol=1e-5)
    inner = jnp.pad(cells[:, 2:-2, 2:-2], ((0, 0), (1, 1), (1, 1), (0, 0)), mode='edge')
    found = _vgg(geometry='paper').to_pixels(inner, 16, 16)
    assert found.shape == (1, 16, 16, 1)
    np.testing.assert_allclose(found[0, 8, 8, 0] - found[0, 8, 7, 0], 6 / 8, atol=1e-5)


def test_the_gradient_of_a_pixel_is_centred_on_it():
    """With weights that are all positive, on average over what is pooled."""
    model, image = _vgg(), jnp.asarray(np.random.default_rng(0).uniform(size=(40, 48, 48, 3)), jnp.float32)
    positive = jax.tree.map(jnp.abs, model.init(jax.random.key(0), image[:1]))
    alike = {name: jax.tree.map(jnp.ones_like, part) for name, part in positive['params'].items()}

    @jax.jit
    @jax.grad
    def slope(image, place):
        maps = model.apply({**positive, 'params': alike}, image)
        return model.to_pixels(maps['decoder'], 48, 48)[:, place[0], place[1]].sum()

    for place in ((22, 25), (23, 24)):
        weights = np.asarray(slope(image, jnp.array(place))).sum(axis=(0, 3), dtype=np.float64)
        found = [(weights.sum(axis=1 - axis) * np.arange(48)).sum() / weights.sum() for axis in range(2)]
        np.testing.assert_allclose(found, place, atol=0.05)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'channels': 0}, r'model\.channels is 1 to 1024, found 0'),
    ],
)
def test_wrong_options_are_explained(options, message):
    with pytest.raises(UserError, match=message):
        _vgg(**options)
