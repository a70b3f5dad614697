"""A batch in parts has the loss and the gradients of the undivided batch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.epochs import Time
from ar_seg_jax.interfaces import VOID, Method
from ar_seg_jax.training import gradients
from tests.support import tiny

KEY, TIME = jax.random.key(3), Time(jnp.int32(5), jnp.int32(0))


def _ac(variant='F1', **options):
    # F1 has no batch norm, whose statistics are the only thing that parts cannot know of one another.
    return tiny.ac({'variant': variant}, displacement=1, **options)


def _batch(size=8):
    rng = np.random.default_rng(0)
    image = (255 * rng.integers(0, 2, (size, 2, 2, 3), dtype=np.uint8)).repeat(8, 1).repeat(8, 2)
    label = rng.choice(np.array([0, 1, VOID], np.uint8), (size, 16, 16))
    regions = jnp.asarray(rng.integers(0, 28, label.shape))
    return {'image': jnp.asarray(image), 'label': jnp.asarray(label), 'mask': jnp.asarray(label != VOID), 'regions': regions}


def _parts(batch, count):
    return {name: array.reshape(count, -1, *array.shape[1:]) for name, array in batch.items()}


def _close(found, expected):
    """To 1e-4 of the largest entry of all: single precision, and sums in another order."""
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    assert scale > 1e-3
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-4 * scale)


@functools.cache
def _start(variant='F1'):
    """Parameters and extra, which no option of the method changes."""
    params, extra = jax.jit(_ac(variant).init)(jax.random.key(0), _batch()['image'])
    # Larger weights at the end: scores of a fresh network are all but uniform, where every gradient is nearly 0.
    return {**params, 'decoder': jax.tree.map(lambda leaf: 50 * leaf, params['decoder'])}, extra


def _computed(method):
    """The functions of `gradients`, compiled; parameters are arguments, since constants take longer to compile."""
    return jax.jit(lambda how, start, batch: how(method, *start, batch, key=KEY, time=TIME), static_argnums=0)


@pytest.mark.parametrize(
    ('counts', 'options'),
    [((2, 8), {}), ((4,), {'collapsed': False, 'entropy_weight': 0.8}), ((4,), {'contrast': 1.0}), ((2,), {'regions': 9})],
)
def test_loss_and_gradients_are_those_of_the_undivided_batch(counts, options):
    compute, start, batch = _computed(_ac(**options)), _start(), _batch()
    (whole, (_, metrics)), expected = compute(gradients.of_batch, start, batch)
    for count in counts:
        (loss, (_, again)), found = compute(gradients.of_parts, start, _parts(batch, count))
        np.testing.assert_allclose(loss, whole, rtol=1e-5, atol=1e-7)
        assert again.keys() == metrics.keys()
        for name, value in metrics.items():
            np.testing.assert_allclose(again[name], value, rtol=1e-5, atol=1e-6)
        _close(found, expected)


def test_the_mean_of_the_parts_losses_is_another_number():
    start, batch = _start(), _batch()
    loss = _computed(_ac())
    parts = _parts(batch, 4)
    mean = np.mean([loss(gradients.loss, start, {name: array[index] for name, array in parts.items()})[0] for index in range(4)])
    whole = loss(gradients.loss, start, batch)[0]
    assert abs(mean - whole) > 0.01 * abs(whole)


def test_with_batch_norm_parts_of_equal_statistics_give_the_undivided_step():
    compute, start, batch = _computed(_ac('F2')), _start('F2'), _batch(4)
    double = {name: jnp.concatenate([array, array]) for name, array in batch.items()}
    (whole, (extra, _)), expected = compute(gradients.of_batch, start, double)
    (loss, (found_extra, _)), found = compute(gradients.of_parts, start, _parts(double, 2))
    np.testing.assert_allclose(loss, whole, rtol=1e-5, atol=1e-7)
    _close(found, expected)
    assert jax.tree.leaves(extra)
    for one, two in zip(jax.tree.leaves(found_extra), jax.tree.leaves(extra), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@dataclasses.dataclass(frozen=True)
class Labelling(Method):
    """Learns the labels of some of the images; its outputs and its state have arrays of all kinds."""

    title = loss_in_words = ''
    num_clusters = 0

    def init(self, key, image):
        extra = {'key': jax.random.key(7), 'count': jnp.int32(5), 'odd': jnp.array(True), 'table': jnp.arange(4, dtype=jnp.uint8)}
        return {'weights': jax.random.normal(key, (3, 4))}, {**extra, 'mean': jnp.zeros(4)}

    def forward(self, params, extra, batch, *, key, time, part=0):
        scores = batch['image'].mean((1, 2)) @ params['weights'] / 255
        outputs = {
            'scores': scores,
            'label': extra['table'][batch['label'][:, 0, 0] % 4],
            'kept': batch['image'][:, 0, 0, 0] > 0,
            'key': jax.random.split(extra['key'], len(scores)),
        }
        new = {'key': jax.random.fold_in(extra['key'], 1), 'count': extra['count'] + 1, 'odd': ~extra['odd']}
        return outputs, {**extra, **new, 'mean': 0.9 * extra['mean'] + 0.1 * scores.mean(0)}

    def objective(self, outputs, batch, *, time):
        assert outputs['label'].dtype == jnp.uint8 and outputs['kept'].dtype == bool and outputs['key'].shape == (8,)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(outputs['scores']), outputs['label'][:, None].astype(int), 1)[:, 0]
        return -jnp.sum(chosen * outputs['kept']) / jnp.sum(outputs['kept']), {'kept': jnp.mean(outputs['kept'])}

    def predict(self, params, extra, image):
        return {}


def test_parts_may_have_outputs_and_a_state_that_are_no_floats():
    method, batch = Labelling(), _batch()
    start = method.init(jax.random.key(0), batch['image'])
    (whole, (extra, metrics)), expected = _computed(method)(gradients.of_batch, start, batch)
    (loss, (found_extra, found_metrics)), found = _computed(method)(gradients.of_parts, start, _parts(batch, 4))
    assert 0 < metrics['kept'] < 1
    np.testing.assert_allclose((loss, found_metrics['kept']), (whole, metrics['kept']), rtol=1e-6)
    _close(found, expected)
    np.testing.assert_allclose(found_extra.pop('mean'), extra.pop('mean'), rtol=1e-5)
    for each in (extra, found_extra):
        assert (int(each['count']), bool(each['odd']), each['table'].tolist()) == (6, False, [0, 1, 2, 3])
        assert each['key'] == jax.random.fold_in(jax.random.key(7), 1)


def test_parts_have_their_own_dropout_and_one_pair_of_orderings():
    batch = _batch(2)
    params, extra = _start('F2')

    def outputs(method):
        compute = jax.jit(lambda part: method.forward(params, extra, batch, key=KEY, time=TIME, part=part)[0])
        return (compute(part)['decoder'] for part in (0, 1))

    (one, _), (two, _) = outputs(tiny.ac({'variant': 'F2', 'dropout': 0.5}, displacement=1))
    assert not np.allclose(one, two)
    for one, two in zip(*outputs(_ac('F2')), strict=True):
        np.testing.assert_array_equal(one, two)


def test_parts_need_less_memory():
    compute, start, batch = _computed(_ac('F2')), _start('F2'), _batch(32)

    def temporaries(how, batch):
        return compute.lower(how, start, batch).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(gradients.of_parts, _parts(batch, 8)) < temporaries(gradients.of_batch, batch) / 3
