"""What devices do together, against the same function of the whole batch on one of them."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax import layers, parallel, sharding
from tests.support.feeds import mesh_of

RNG = np.random.default_rng(0)
IMAGES = np.float32(RNG.normal(size=(16, 6, 5)))
WEIGHTS = {'scale': np.float32(RNG.normal(size=(5,)))}


def _under(devices, function, *arguments):
    """`function(*arguments)` compiled for so many devices; 0 is without a mesh."""
    if not devices:
        return jax.jit(function)(*arguments)
    mesh = mesh_of(devices)
    placed = jax.device_put(arguments, sharding.replicated(mesh))
    with jax.set_mesh(mesh):
        return jax.jit(function)(*placed)


def _on_devices(function, images=IMAGES):
    return parallel.on_devices(function, parallel.copies(WEIGHTS), jax.random.key(1), jnp.asarray(images))


@pytest.mark.parametrize('devices', [0, 1, 8])
def test_what_concerns_the_whole_batch_is_the_same_on_any_number_of_devices(devices):
    def of_device(weights, key, images):
        drawn = jax.vmap(lambda key: jax.random.normal(key, (2,)))(parallel.keys(key, len(images)))
        whole = parallel.whole(images)
        assert whole.shape == IMAGES.shape
        return (drawn, images - whole.mean(0)[None]), parallel.total({'sum': weights['scale'] * images.sum((0, 1))})

    (drawn, centred), totals = _under(devices, lambda: _on_devices(of_device))
    keys = [jax.random.fold_in(jax.random.key(1), number) for number in range(16)]
    np.testing.assert_allclose(drawn, [jax.random.normal(key, (2,)) for key in keys], rtol=1e-6)
    np.testing.assert_allclose(centred, IMAGES - np.mean(IMAGES, 0), atol=1e-5)
    np.testing.assert_allclose(totals['sum'], WEIGHTS['scale'] * np.sum(IMAGES, (0, 1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('devices', [0, 1, 8])
def test_gradients_by_copies_are_summed_to_those_of_the_whole_batch(devices):
    """Of an objective over all images, whose derivative by one depends on the others."""

    def gradients():
        def objective(copies):
            images = jnp.asarray(IMAGES)
            totals, _ = parallel.on_devices(lambda w, _, images: (images.sum(1) @ w['scale'], ()), copies, None, images)
            return jnp.log(jnp.sum(totals**2))

        found = jax.grad(objective)(parallel.copies(WEIGHTS))
        assert found['scale'].shape == (devices or 1, 5)
        return parallel.summed(found)

    images = np.float64(IMAGES).sum(1)
    totals = images @ np.float64(WEIGHTS['scale'])
    np.testing.assert_allclose(_under(devices, gradients)['scale'], 2 * totals @ images / np.sum(totals**2), rtol=1e-4, atol=1e-6)


def test_gradients_in_half_precision_are_rounded_before_they_are_sent():
    """Eight numbers of about 1, each to 8 bits, and their sum once more."""
    each = np.float32(RNG.normal(size=(8, 64, 16)))

    def summed(dtype, each):
        return parallel.summed({'kernel': each}, dtype=dtype)['kernel']

    exact, found = (_under(8, functools.partial(summed, dtype), each) for dtype in ('float32', 'bfloat16'))
    np.testing.assert_allclose(exact, each.sum(0), atol=1e-5)
    assert found.dtype == jnp.float32
    error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    assert 2**-11 < error < 2**-7
    with jax.set_mesh(mesh_of(8)):
        program = jax.jit(functools.partial(summed, 'bfloat16')).lower(each).as_text()
    (sent,) = re.findall(r'stablehlo\.all_reduce.*?\) : \((.*?)\) ->', program, re.DOTALL)
    assert sent == 'tensor<64x16xbf16>'


class Normed(nn.Module):
    """Batch normalisation, by that of this package or by Flax's own."""

    own: bool

    @nn.compact
    def __call__(self, x):
        if self.own:
            return layers.batch_norm(True, momentum=0.9, dtype=jnp.float32, name='norm')(x)
        return nn.BatchNorm(use_running_average=False, momentum=0.9, name='norm')(x)


def _normalised(own):
    variables = Normed(own).init(jax.random.key(0), IMAGES)

    def of_device(weights, key, images):
        return Normed(own).apply(variables, images, mutable=['batch_stats'])

    return lambda: _on_devices(of_device)


def test_batch_norm_has_the_statistics_of_the_whole_batch():
    found, updated = _under(8, _normalised(own=True))
    mean, deviation = np.mean(IMAGES, (0, 1)), np.std(IMAGES, (0, 1))
    np.testing.assert_allclose(found, (IMAGES - mean) / np.sqrt(deviation**2 + 1e-5), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(updated['batch_stats']['norm']['mean'], 0.1 * mean, rtol=1e-4, atol=1e-7)


def test_statistics_of_the_images_of_one_device_are_refused():
    with pytest.raises(ValueError, match=r'out_specs which require replication'):
        _under(8, _normalised(own=False))
