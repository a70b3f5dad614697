"""Soft-argmax, the transformer over slots and what its output is split into, against NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.models import slots
from ar_seg_jax.models.slots import SlotTransformer
from tests.support import tiny

RNG = np.random.default_rng(0)


@pytest.mark.parametrize('grid', ['corners', 'centres'])
def test_soft_argmax_is_the_mean_of_places_and_maps_under_the_attention(grid):
    logits, maps = RNG.normal(size=(2, 3, 5, 4)), RNG.normal(size=(2, 3, 5, 6))
    expected = np.zeros((2, 4, 8))
    for image, slot in np.ndindex(2, 4):
        weights = np.exp(logits[image, :, :, slot])
        for row, column in np.ndindex(3, 5):
            x, y = (
                (2 * place + 1) / side - 1 if grid == 'centres' else 2 * place / (side - 1) - 1
                for place, side in ((column, 5), (row, 3))
            )
            share = weights[row, column] / weights.sum()
            expected[image, slot] += share * np.array([x, y, *maps[image, row, column]])
    np.testing.assert_allclose(slots.soft_argmax(jnp.float32(logits), jnp.float32(maps), grid), expected, atol=1e-5)


def test_a_slot_that_looks_at_one_cell_finds_its_place_and_what_is_there():
    logits = jnp.full((1, 4, 4, 1), -100.0).at[0, 3, 0].set(100.0)
    maps = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(slots.soft_argmax(logits, maps, 'corners')[0, 0], [-1, 1, 12], atol=1e-5)
    np.testing.assert_allclose(slots.soft_argmax(logits, maps, 'centres')[0, 0], [-0.75, 0.75, 12], atol=1e-5)


@pytest.mark.parametrize(('latents', 'parameters'), [(36, 3_181_348), (37, 3_181_861)])
def test_the_transformer_has_the_parameters_of_the_supplement(latents, parameters):
    network = SlotTransformer(6, 256, 8, 512, 0.1)
    found = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 3, latents)))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(found)) == parameters


@pytest.fixture(scope='module')
def transformer():
    network = SlotTransformer(2, 8, 2, 12, 0.5)
    return network, network.init(jax.random.key(0), jnp.zeros((1, 3, 5)))


def test_all_layers_begin_with_the_same_weights_between_the_limits_of_torch(transformer):
    _, variables = transformer
    layers = variables['params']['layers']
    for leaf in jax.tree.leaves(layers):
        np.testing.assert_array_equal(leaf[0], leaf[1])
    limits = {
        'query': math.sqrt(6 / (8 + 3 * 8)),
        'key': math.sqrt(6 / (8 + 3 * 8)),
        'value': math.sqrt(6 / (8 + 3 * 8)),
        'out': 8**-0.5,
    }
    for name, limit in limits.items():
        assert 0.7 * limit < abs(layers['attention'][name]['kernel']).max() <= limit
    for name, limit in (('inner', 8**-0.5), ('outer', 12**-0.5)):
        for leaf in layers[name].values():
            assert 0.6 * limit < abs(leaf).max() <= limit


def _norm(x, norm):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * norm['scale'] + norm['bias']


def _transformed(params, x):
    """torch.nn.TransformerEncoder with norms after the sums, between two linear maps."""
    x = x @ params['embed']['kernel'] + params['embed']['bias']
    for index in range(2):
        layer = jax.tree.map(lambda leaf: leaf[index], params['layers'])  # noqa: B023
        query, key, value = (
            np.einsum('bkc,chd->bhkd', x, layer['attention'][name]['kernel']) + layer['attention'][name]['bias'][:, None]
            for name in ('query', 'key', 'value')
        )
        scores = np.exp(np.einsum('bhkd,bhld->bhkl', query, key) / np.sqrt(query.shape[-1]))
        attended = np.einsum('bhkl,bhld->bkhd', scores / scores.sum(-1, keepdims=True), value)
        attended = np.einsum('bkhd,hdc->bkc', attended, layer['attention']['out']['kernel']) + layer['attention']['out']['bias']
        x = _norm(x + attended, layer['attention_norm'])
        hidden = np.maximum(x @ layer['inner']['kernel'] + layer['inner']['bias'], 0)
        x = _norm(x + hidden @ layer['outer']['kernel'] + layer['outer']['bias'], layer['feedforward_norm'])
    return x @ params['project']['kernel'] + params['project']['bias']


def test_the_transformer_computes_what_its_definition_says_and_knows_no_order_of_slots(transformer):
    network, variables = transformer
    keys = iter(jax.random.split(jax.random.key(1), 100))
    params = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), variables['params'])
    x = RNG.normal(size=(2, 3, 5))
    compute = jax.jit(lambda x: network.apply({'params': params}, x), compiler_options=tiny.QUICK)
    found = compute(jnp.float32(x))
    np.testing.assert_allclose(found, _transformed(jax.tree.map(np.float64, params), x), atol=1e-4)
    np.testing.assert_allclose(compute(jnp.float32(x[:, [2, 0, 1]])), found[:, jnp.array([2, 0, 1])], atol=1e-5)


def test_dropout_is_drawn_in_training_alone(transformer):
    network, variables = transformer
    x = jnp.float32(RNG.normal(size=(1, 3, 5)))
    one, other = (network.apply(variables, x, train=True, rngs={'dropout': jax.random.key(seed)}) for seed in (0, 1))
    assert not np.allclose(one, other)
    np.testing.assert_array_equal(network.apply(variables, x), network.apply(variables, x, rngs={'dropout': jax.random.key(0)}))


def test_without_layers_latents_stay_as_they_are():
    network, x = SlotTransformer(0, 8, 2, 12, 0.0), jnp.ones((1, 3, 5))
    assert not network.init(jax.random.key(0), x)
    np.testing.assert_array_equal(network.apply({}, x), x)


@pytest.mark.parametrize('scales', [1, 2])
def test_latents_are_split_into_place_scales_activation_and_appearance(scales):
    latents = np.array([0.3, -1.7, *[2.0, -1.0][:scales], 0.7, 4, 5, 6])
    found = slots.split(jnp.float32(latents)[None, None], scales, 1.3, 24.0)
    factors = [1.3 + 22.7 / (1 + math.exp(-logit)) for logit in (2.0, -1.0 if scales == 2 else 2.0)]
    np.testing.assert_allclose(found.places[0, 0], [0.3, -1, *factors], rtol=1e-5)
    np.testing.assert_allclose(found.activation[0, 0], 0.7)
    np.testing.assert_array_equal(found.appearance[0, 0], [4, 5, 6])
