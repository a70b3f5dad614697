"""Winograd's convolutions against those of XLA, and where layers take them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax import layers, orderings, winograd
from tests.support.arrays import normal


def _plain(x, kernel, dilation):
    numbers = ('NHWC', 'HWIO', 'NHWC')
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'VALID', rhs_dilation=(dilation, dilation), dimension_numbers=numbers)


@pytest.mark.parametrize('height, width, dilation', [(3, 3, 1), (8, 6, 1), (9, 12, 1), (11, 8, 2), (13, 10, 3)])
def test_outputs_and_gradients_are_those_of_a_convolution(height, width, dilation):
    x, kernel = normal(0, (2, height, width, 3)), normal(1, (3, 3, 3, 5))
    weights = normal(2, (2, height - 2 * dilation, width - 2 * dilation, 5))

    def outputs_and_gradients(correlate):
        outputs, pullback = jax.vjp(lambda x, kernel: correlate(x, kernel, dilation), x, kernel)
        return outputs, *pullback(weights)

    found, expected = jax.jit(lambda: [outputs_and_gradients(form) for form in (winograd.correlate, _plain)])()
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def _products(channels, *, taps=None, stride=1, size=3, side=48, dtype=jnp.float32):
    """Matrix products in the program of a convolution."""
    x, kernel = jnp.ones((1, side, side, channels), dtype), jnp.ones((size, size, channels, channels), dtype)
    padding = ((size // 2, size // 2),) * 2
    program = jax.make_jaxpr(lambda x, kernel: layers.convolve(x, kernel, padding, stride, taps=taps))(x, kernel)
    return str(program).count('dot_general')


def _all_but(count):
    """Taps without the last ones."""
    return (np.arange(9) < 9 - count).reshape(3, 3)


def test_layers_take_it_for_most_of_nine_taps_on_large_and_wide_maps():
    plain = _products(8)
    assert plain == 1  # patches
    assert min(_products(32), _products(32, taps=_all_but(1)), _products(32, taps=_all_but(2))) > 16
    assert {
        _products(32, taps=_all_but(3)),
        _products(32, stride=2),
        _products(32, size=5),
        _products(32, side=16),
        _products(32, dtype=jnp.bfloat16),
    } == {plain}


@pytest.mark.parametrize('masked', [0, 1, 2])
def test_a_layer_that_takes_it_computes_what_patches_do(masked):
    x, kernel, padding = normal(0, (1, 46, 45, 32)), normal(1, (3, 3, 32, 33)), ((0, 2), (1, 1))
    weights, taps = normal(2, (1, 46, 45, 33)), _all_but(masked)

    def outputs_and_gradients(form):
        convolve = lambda x, kernel: layers.convolve(x, kernel, padding, taps=taps, lowering=form)  # noqa: E731
        outputs, pullback = jax.vjp(convolve, x, kernel)
        return outputs, *pullback(weights)

    found, expected = jax.jit(lambda: [outputs_and_gradients(form) for form in ('auto', 'patches')])()
    for one, other, size in zip(found, expected, (1e-4, 1e-4, 1e-2), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=size)
    assert not found[2][~taps].any() and found[2][taps].all()


@pytest.mark.parametrize('name', ['A1', 'D3'])
def test_a_masked_layer_that_takes_it_sees_later_pixels_no_more_than_rounding_does(name):
    layer, x = layers.MaskedConv(32), normal(0, (1, 46, 46, 32))
    ordering = orderings.ORDERINGS[name]
    variables = layer.init(jax.random.key(0), x)
    apply = jax.jit(lambda x: layer.apply(variables, x, ordering))
    assert str(jax.make_jaxpr(apply)(x)).count('dot_general') > 16
    later = np.arange(46 * 46).reshape(1, 46, 46, 1) > 46 * 23 + 20  # in the frame of the ordering
    before, after = apply(x), apply(jnp.where(later, 100 * x, x))
    earlier = np.broadcast_to(~later, before.shape)
    np.testing.assert_allclose(before[earlier], after[earlier], atol=1e-3)
    assert np.abs(before - after)[~earlier].max() > 10
