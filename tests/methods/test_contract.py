"""What every method promises the rest of the program, see `interfaces.Method`.

A method that is new in `build.METHODS` is tested with the options of a config that names it, which `tests/support/methods.py` can
make smaller.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ar_seg_jax import sharding
from ar_seg_jax.augmentations import inputs
from ar_seg_jax.interfaces import BATCH_STATS, Method
from ar_seg_jax.training import optimizer
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.state import TrainState
from configs import common
from tests.support import feeds, methods, tiny

pytestmark = pytest.mark.usefixtures('compiled_once')


@dataclasses.dataclass(frozen=True)
class Case:
    """A method with a state and a step, each compiled once for all tests."""

    name: str
    method: Method
    params: object
    extra: object
    step: object


@pytest.fixture(scope='module', params=methods.NAMES)
def case(request):
    method = methods.made(request.param)
    state = jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), tiny.random_batch()['image'])
    return Case(request.param, method, *state, tiny.stepper(method))


def _assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def _forms(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def _assert_close(found, expected):
    """Leaf by leaf. A hundred thousandth of the largest entry is rounding: all of the gradient of a bias before batch norm is."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    floats = [leaf for leaf in jax.tree.leaves(expected) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    largest = max((float(jnp.abs(leaf).max()) for leaf in floats), default=0)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5 * largest), found, expected)


def _finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def _predict(case):
    return jax.jit(case.method.predict, compiler_options=tiny.QUICK)


@pytest.mark.parametrize('name', methods.NAMES)
def test_a_method_is_a_frozen_dataclass_that_says_what_it_is(name):
    method = methods.made(name)
    assert dataclasses.is_dataclass(method) and hash(method) == hash(methods.made(name)) and method == methods.made(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.title = 'another'
    assert method.title and method.loss_in_words
    assert method.num_clusters == 0 or 2 <= method.num_clusters <= 255
    assert method.reach is None or method.reach >= 0
    assert method.output_stride >= 1
    method.check((8, 16, 16, 3), 2)


def test_first_parameters_are_drawn_without_being_computed_and_follow_from_the_key(case):
    image = tiny.random_batch()['image']
    params, extra = jax.eval_shape(case.method.init, jax.random.key(0), image)
    assert _forms((params, extra)) == _forms((case.params, case.extra))
    assert params and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params))
    # Refuses groups that have no parameters.
    jax.eval_shape(optimizer.optimizer(**common.adam(), steps=1, restarted=case.method.restarted).tx.init, params)


def test_a_step_keeps_the_form_of_the_state_and_can_be_described(case):
    (loss, (extra, metrics)), gradients = case.step(case.params, case.extra, tiny.random_batch(), jax.random.key(1))
    assert loss.shape == () and np.isfinite(loss)
    assert (_forms(extra), _forms(gradients)) == (_forms(case.extra), _forms(case.params))
    assert all(value.shape == () for value in metrics.values())
    remark = case.method.describe({name: float(value) for name, value in {**metrics, 'loss': loss}.items()})
    assert isinstance(remark.words, str) and '\n' not in remark.words and isinstance(remark.warning, str)


def test_eight_devices_compute_what_one_does(case):
    batch, key = tiny.random_batch(), jax.random.key(3)
    mesh = feeds.mesh_of(8)
    sharded = jax.device_put(batch, sharding.split_batch(mesh))
    assert len({shard.device for shard in sharded['image'].addressable_shards}) == 8
    state = jax.device_put((case.params, case.extra), sharding.replicated(mesh))
    key_there = jax.device_put(key, sharding.replicated(mesh))
    with jax.set_mesh(mesh):
        (loss, (extra, metrics)), gradients = case.step(*state, sharded, key_there)
    (expected, (expected_extra, expected_metrics)), expected_gradients = case.step(case.params, case.extra, batch, key)
    for one, other in ((loss, expected), (metrics, expected_metrics), (extra, expected_extra), (gradients, expected_gradients)):
        _assert_close(one, other)
    if case.method.refresh_when:
        found = case.method.refresh(*state, iter([sharded]), key=key_there, time=tiny.BEGINNING)
        expected = case.method.refresh(case.params, case.extra, iter([batch]), key=key, time=tiny.BEGINNING)
        _assert_close(found, expected)


def test_training_sees_labels_only_where_the_method_says_so(case):
    """Nor do the clusters that are sought, before training and for predictions."""
    batch = tiny.random_batch()
    other = {**batch, 'label': (batch['label'] + 1) % 3}
    found, expected = (case.step(case.params, case.extra, one, jax.random.key(4)) for one in (other, batch))
    if case.method.uses_labels:
        assert found[0][0] != expected[0][0]
    else:
        _assert_equal(found, expected)
    for seek in (case.method.readout, functools.partial(case.method.refresh, time=tiny.BEGINNING)):
        found, expected = (seek(case.params, case.extra, iter([one]), key=jax.random.key(4)) for one in (other, batch))
        _assert_equal(found, expected)


def test_networks_compute_in_half_precision_and_losses_in_full(case):
    """With the same parameters; a few percent of the gradient are lost."""
    if 'dtype' not in methods.config(case.name)['model']:
        pytest.skip('its model has one precision')
    half = methods.made(case.name, dtype='bfloat16')
    step, batch = tiny.stepper(half), tiny.random_batch()
    (loss, (extra, metrics)), gradients = step(case.params, case.extra, batch, jax.random.key(4))
    assert loss.dtype == jnp.float32 and all(value.dtype == jnp.float32 for value in metrics.values())
    assert (_forms(extra), _forms(gradients)) == (_forms(case.extra), _forms(case.params)) and _finite((loss, extra, gradients))
    (expected, _), _ = case.step(case.params, case.extra, batch, jax.random.key(4))
    np.testing.assert_allclose(loss, expected, rtol=0.1, atol=0.02)


def test_dropout_is_drawn_with_the_key_of_the_step(case):
    if 'dropout' not in methods.config(case.name)['model']:
        pytest.skip('its model has no dropout')
    step, batch = tiny.stepper(methods.made(case.name, dropout=0.5)), tiny.random_batch()
    found = step(case.params, case.extra, batch, jax.random.key(4))
    assert _finite(found)
    _assert_equal(step(case.params, case.extra, batch, jax.random.key(4)), found)
    assert found[0][0] != case.step(case.params, case.extra, batch, jax.random.key(4))[0][0]


def test_a_refresh_keeps_the_form_of_the_state_and_follows_from_its_key(case):
    def refreshed(seed):
        batches = iter([tiny.random_batch(), tiny.random_batch()])
        return case.method.refresh(case.params, case.extra, batches, key=jax.random.key(seed), time=tiny.BEGINNING)

    found = refreshed(0)
    assert _forms(found) == _forms((case.params, case.extra)) and _finite(found)
    _assert_equal(refreshed(0), found)
    if not case.method.refresh_when:
        _assert_equal(found, (case.params, case.extra))
    for group in case.method.restarted:
        drawn = zip(jax.tree.leaves(found[0][group]), jax.tree.leaves(refreshed(1)[0][group]), strict=True)
        assert any(bool((one != other).any()) for one, other in drawn)


def test_training_does_not_depend_on_the_readout(case):
    """Bit for bit: a run that was stopped has been saved, and so read out, more often."""
    batch, key = tiny.random_batch(), jax.random.key(6)
    read = case.method.readout(case.params, case.extra, iter([tiny.random_batch()]), key=jax.random.key(0))
    assert _forms(read) == _forms(case.extra)
    (loss, (after, metrics)), gradients = case.step(case.params, read, batch, key)
    (expected, (expected_after, expected_metrics)), expected_gradients = case.step(case.params, case.extra, batch, key)
    _assert_equal((loss, metrics, gradients), (expected, expected_metrics, expected_gradients))
    # What the step moves it moves alike; all the rest is still what was read out.
    for part, leaf in read.items():
        moved = any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), expected_after[part], case.extra[part])))
        _assert_equal(after[part], expected_after[part] if moved else leaf)


def test_batch_statistics_have_the_paths_of_parameters(case):
    """So that they can be frozen with them."""

    def modules(tree):
        return {path[:-1] for path, _ in jax.tree_util.tree_leaves_with_path(tree)}

    assert modules(case.extra.get(BATCH_STATS, {})) <= modules(case.params)


def _trained(method, step, params, extra, numbers):
    """The state after steps with these numbers, each after a refresh if the method has one."""
    for number in numbers:
        batch, key = tiny.random_batch(), jax.random.key(number)
        if method.refresh_when:
            params, extra = method.refresh(params, extra, iter([batch]), key=key, time=tiny.BEGINNING)
        (_, (extra, _)), gradients = step(params, extra, batch, key)
        params = jax.tree.map(lambda leaf, gradient: leaf - 0.1 * gradient, params, gradients)
    return params, extra


def test_a_training_that_goes_on_from_a_checkpoint_ends_with_the_same_bits(case, tmp_path):
    """With a method that is built, traced and compiled anew. The loop around it is tested in tests/training/test_task.py."""

    def read_out(method, params, extra):
        return method.readout(params, extra, iter([tiny.random_batch()]), key=jax.random.key(0))

    params, extra = _trained(case.method, case.step, case.params, case.extra, [0, 1])
    expected = _trained(case.method, case.step, params, extra, [2])
    number, zero = jnp.int32(2), jnp.int32(0)
    state = TrainState(number, params, read_out(case.method, params, extra), optax.EmptyState(), jax.random.key(0), zero, zero)
    checkpoints = Checkpoints(tmp_path / 'checkpoints', writable=True)
    checkpoints.save(state)
    checkpoints.close()

    method = methods.made(case.name)
    restored = Checkpoints(tmp_path / 'checkpoints').restore(state)
    found = _trained(method, tiny.stepper(method), restored.params, restored.extra, [2])
    _assert_equal(found[0], expected[0])
    _assert_equal(read_out(method, *found), read_out(case.method, *expected))
    assert _finite(found)


@pytest.mark.parametrize(('height', 'width'), [(16, 16), (14, 11)])
def test_predictions_are_maps_and_scores_probabilities_of_the_pixels_of_images_of_any_size(case, height, width):
    if case.method.image_size not in (None, (height, width)):
        pytest.skip('its images have one size')
    image = tiny.random_batch(2)['image'][:, :height, :width]
    outputs = _predict(case)(case.params, case.extra, image)
    assert outputs and ('scores' in outputs) == bool(case.method.num_clusters)
    assert all(len(found) == 2 for found in outputs.values()) and _finite(outputs)
    assert all(outputs[name].ndim == 4 for name in ('scores', 'features', 'logits') if name in outputs)
    if 'scores' in outputs:
        assert outputs['scores'].shape == (2, height, width, case.method.num_clusters)
        assert outputs['scores'].dtype == jnp.float32 and outputs['scores'].min() >= 0
        np.testing.assert_allclose(outputs['scores'].sum(axis=-1), 1, rtol=1e-5)


def test_scores_of_a_tile_are_those_of_the_image_where_its_edges_are_out_of_reach(case):
    """Two windows, one of them `output_stride` pixels further to the right."""
    reach, stride = case.method.reach, case.method.output_stride
    if reach is None or not case.method.num_clusters:
        pytest.skip('it depends on the whole image, or there are no scores')
    width = 2 * reach + 4 * stride
    image = tiny.random_batch(1, side=width + stride)['image'][:, :16]
    read = case.method.readout(case.params, case.extra, iter([tiny.random_batch()]), key=jax.random.key(0))
    predict = _predict(case)
    one, other = (predict(case.params, read, image[:, :, start : start + width])['scores'] for start in (0, stride))
    here, there = one[:, :, stride + reach : width - reach], other[:, :, reach : width - reach - stride]
    assert here.shape[2] >= 2 * stride and np.ptp(here) > 0
    np.testing.assert_allclose(here, there, atol=1e-6)


def test_a_model_gets_the_input_that_it_was_made_for(case, monkeypatch):
    """With a deviation of 2, images that are twice as bright look the same, to the bit, if the same happens to them.

    Gradients of images are of what they were before that, and are left out, and so are losses that compare images."""
    monkeypatch.setattr(inputs, 'keys_of', lambda image, key: jax.random.split(key, len(image)))
    monkeypatch.setattr(inputs, 'append_sobel', lambda seen, image: jnp.pad(seen, ((0, 0), (0, 0), (0, 0), (0, 2))))
    batch, key = tiny.random_batch(), jax.random.key(2)
    dark = {**batch, 'image': batch['image'] // 2}

    def computed(method, batch):
        def both(params, extra, batch):
            outputs, _ = method.forward(params, extra, batch, key=key, time=tiny.BEGINNING)
            predicted = method.predict(params, extra, batch['image'])
            return (predicted['features'], predicted['logits']) if 'reconstruction' in predicted else (outputs, predicted)

        return jax.jit(both, compiler_options=tiny.QUICK)(case.params, case.extra, batch)

    expected = computed(case.method, dark)
    found = computed(methods.made(case.name, deviation=(2.0, 2.0, 2.0)), {**dark, 'image': 2 * dark['image']})
    _assert_equal(found, expected)
    assert any(np.ptp(leaf) > 0 for leaf in jax.tree.leaves(expected))
