"""The siamese head against scipy and matrix products, and the number of its parameters against IIC's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ar_seg_jax.errors import UserError
from ar_seg_jax.models.patch_comparator import PatchComparator
from tests.support import tiny

# Sizes of IIC's heads: convolution, batch norm, two linear layers.
FULL = 512 * 1024 * 9 + 2 * 1024 + (2 * 11 * 11 * 1024 + 1) * 1024
POOLED = 512 * 1024 * 9 + 2 * 1024 + (2 * 1024 + 1) * 1024


def _patches():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 5, 5, 3)), jnp.float32)


@pytest.mark.parametrize(('kind', 'expected'), [('full', FULL), ('pooled', POOLED)])
@pytest.mark.parametrize('outputs', [9, 1])
def test_the_head_has_as_many_parameters_as_that_of_iic(kind, expected, outputs):
    comparator = PatchComparator(outputs, kind, 1024, jnp.float32)
    patches = jax.ShapeDtypeStruct((1, 11, 11, 512), jnp.float32)
    params = jax.eval_shape(comparator.init, jax.random.key(0), patches, patches)['params']
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected + (1024 + 1) * outputs


@pytest.mark.parametrize('kind', ['full', 'pooled'])
def test_both_patches_go_through_the_same_layers(kind):
    """At inference, with statistics that are drawn."""
    comparator, (first, second) = PatchComparator(2, kind, 4, jnp.float32), _patches()
    variables = comparator.init(jax.random.key(0), first, second)
    rng = np.random.default_rng(1)
    params, statistics = jax.tree.map(lambda leaf: rng.uniform(0.5, 1.5, leaf.shape), tuple(map(variables.get, _PARTS)))
    flat = []
    for patches in map(np.asarray, (first, second)):
        seen = np.zeros((4, 5, 5, 4))
        for index in np.ndindex(4, 4, 3):
            image, feature, channel = index
            kernel = params['conv'][:, :, channel, feature]
            seen[image, ..., feature] += ndimage.correlate(patches[image, ..., channel], kernel, mode='constant')
        norm, moments = params['norm'], statistics['norm']
        seen = (seen - moments['mean']) / np.sqrt(moments['var'] + 1e-5) * norm['scale'] + norm['bias']
        seen = np.maximum(seen, 0)
        flat.append(seen.mean(axis=(1, 2)) if kind == 'pooled' else seen.reshape(4, -1))
    hidden = np.maximum(np.concatenate(flat, axis=1) @ params['hidden']['kernel'] + params['hidden']['bias'], 0)
    expected = hidden @ params['output']['kernel'] + params['output']['bias']
    drawn = jax.tree.map(jnp.float32, dict(zip(_PARTS, (params, statistics), strict=True)))
    np.testing.assert_allclose(comparator.apply(drawn, first, second), expected, rtol=1e-4)


_PARTS = ('params', 'batch_stats')


def test_half_of_the_hidden_layer_is_dropped_in_training_alone():
    comparator, (first, second) = PatchComparator(1, 'pooled', 400, jnp.float32), _patches()
    variables = comparator.init(jax.random.key(0), first, second)
    params = variables['params']
    # Each hidden unit is 1, and the output their mean.
    params['hidden'] = {'kernel': jnp.zeros_like(params['hidden']['kernel']), 'bias': jnp.ones(400)}
    params['output'] = {'kernel': jnp.full((400, 1), 1 / 400), 'bias': jnp.zeros(1)}

    def kept(key):
        found, _ = comparator.apply(variables, first, second, train=True, mutable=['batch_stats'], rngs={'dropout': key})
        return found[:, 0]

    found = np.concatenate([jax.jit(kept, compiler_options=tiny.QUICK)(jax.random.key(seed)) for seed in range(5)])
    assert len(np.unique(found)) > 5 and np.abs(found - 1).max() < 5 / np.sqrt(400)  # kept units count twice
    np.testing.assert_allclose(found * 200, np.round(found * 200), atol=1e-3)
    np.testing.assert_allclose(comparator.apply(variables, first, second), 1, rtol=1e-6)


def test_a_head_without_channels_is_refused():
    with pytest.raises(UserError, match=r'method\.comparator_width is at least 1, found 0'):
        PatchComparator(9, 'pooled', 0, jnp.float32)
