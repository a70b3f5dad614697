"""A batch in parts has the loss and the gradients of the undivided batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.interfaces import VOID
from ar_seg_jax.methods.ac import AC
from ar_seg_jax.models.autoregressive import Autoregressive
from ar_seg_jax.objectives.mutual_information import InformationLoss
from ar_seg_jax.training import gradients

KEY, STEP = jax.random.key(3), jnp.int32(5)


def _ac(variant='F1', **fields):
    # F1 has no batch norm, whose statistics are the only thing that parts cannot know of one another.
    return AC(
        Autoregressive(num_clusters=3, blocks=1, variant=variant), InformationLoss(displacement=1, **fields), mask_void=True
    )


def _batch(size=8):
    rng = np.random.default_rng(0)
    image = (255 * rng.integers(0, 2, (size, 2, 2, 3), dtype=np.uint8)).repeat(8, 1).repeat(8, 2)
    label = rng.choice(np.array([0, 1, VOID], np.uint8), (size, 16, 16))
    return {'image': jnp.asarray(image), 'label': jnp.asarray(label)}


def _parts(batch, count):
    return {name: array.reshape(count, -1, *array.shape[1:]) for name, array in batch.items()}


def _close(found, expected):
    """To 1e-4 of the largest entry of all: single precision, and sums in another order."""
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    assert scale > 1e-3
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-4 * scale)


def _start(method, batch):
    params, extra = jax.jit(method.init)(jax.random.key(0), batch['image'])
    # Larger weights at the end: scores of a fresh network are all but uniform, where every gradient is nearly 0.
    return {**params, 'decoder': jax.tree.map(lambda leaf: 50 * leaf, params['decoder'])}, extra


@pytest.mark.parametrize(('counts', 'fields'), [((2, 8), {}), ((4,), {'collapsed': False, 'entropy_weight': 0.8})])
def test_loss_and_gradients_are_those_of_the_undivided_batch(counts, fields):
    method, batch = _ac(**fields), _batch()
    start = _start(method, batch)
    compute = jax.jit(lambda how, batch: how(method, *start, batch, key=KEY, step=STEP), static_argnums=0)
    (whole, (_, metrics)), expected = compute(gradients.of_batch, batch)
    for count in counts:
        (loss, (_, again)), found = compute(gradients.of_parts, _parts(batch, count))
        np.testing.assert_allclose(loss, whole, rtol=1e-5, atol=1e-7)
        for name, value in metrics.items():
            np.testing.assert_allclose(again[name], value, rtol=1e-5, atol=1e-6)
        _close(found, expected)


def test_the_mean_of_the_parts_losses_is_another_number():
    method, batch = _ac(), _batch()
    start = _start(method, batch)
    of = jax.jit(lambda batch: gradients.loss(method, *start, batch, key=KEY, step=STEP)[0])
    parts = _parts(batch, 4)
    mean = np.mean([of({name: array[index] for name, array in parts.items()}) for index in range(4)])
    assert abs(mean - of(batch)) > 0.01 * abs(of(batch))


def test_with_batch_norm_parts_of_equal_statistics_give_the_undivided_step():
    method, batch = _ac('F2'), _batch(4)
    start = _start(method, batch)
    double = {name: jnp.concatenate([array, array]) for name, array in batch.items()}
    compute = jax.jit(lambda how, batch: how(method, *start, batch, key=KEY, step=STEP), static_argnums=0)
    (whole, (extra, _)), expected = compute(gradients.of_batch, double)
    (loss, (found_extra, _)), found = compute(gradients.of_parts, _parts(double, 2))
    np.testing.assert_allclose(loss, whole, rtol=1e-5, atol=1e-7)
    _close(found, expected)
    assert jax.tree.leaves(extra)
    for one, two in zip(jax.tree.leaves(found_extra), jax.tree.leaves(extra), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_parts_have_their_own_dropout_and_one_pair_of_orderings():
    model = Autoregressive(num_clusters=3, blocks=1, variant='F2', dropout=0.5)
    method, batch = AC(model, InformationLoss(displacement=1)), _batch(2)
    params, extra = _start(method, batch)
    outputs = jax.jit(lambda part: method.forward(params, extra, batch, key=KEY, part=part)[0])
    assert not np.allclose(outputs(0)['scores'][0], outputs(1)['scores'][0])
    quiet = AC(Autoregressive(num_clusters=3, blocks=1, variant='F2'), InformationLoss(displacement=1))
    outputs = jax.jit(lambda part: quiet.forward(params, extra, batch, key=KEY, part=part)[0])
    for one, two in zip(outputs(0)['scores'], outputs(1)['scores'], strict=True):
        np.testing.assert_array_equal(one, two)


def test_parts_need_less_memory():
    method, batch = _ac('F2'), _batch(32)
    start = _start(method, batch)

    def temporaries(how, batch):
        step = jax.jit(lambda batch: how(method, *start, batch, key=KEY, step=STEP))
        return step.lower(batch).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(gradients.of_parts, _parts(batch, 8)) < temporaries(gradients.of_batch, batch) / 3
