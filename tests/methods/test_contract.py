"""What every method promises the rest of the program, see `interfaces.Method`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax import build
from ar_seg_jax.interfaces import BATCH_STATS
from ar_seg_jax.training import optimizer
from configs import common
from tests.support import tiny

# What configs have by default, for tiny maps and with options that add something to the state or the step.
OPTIONS = {'ac': {'displacement': 2, 'mask_void': True, 'auxiliary_clusters': 4}, 'arl': {'width': 5, 'negatives': 5}}
METHODS = {name: tiny.method({**getattr(common, name)(), **OPTIONS.get(name, {})}) for name in build.METHODS}


@dataclasses.dataclass(frozen=True)
class Case:
    """A method with a state and a step, each compiled once for all tests."""

    method: object
    params: object
    extra: object
    step: object


@pytest.fixture(scope='module', params=build.METHODS)
def case(request):
    method = METHODS[request.param]
    state = jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), tiny.random_batch()['image'])
    return Case(method, *state, tiny.stepper(method))


def _assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def _forms(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@pytest.mark.parametrize('name', build.METHODS)
def test_a_method_is_a_frozen_dataclass_that_says_what_it_is(name):
    method = METHODS[name]
    assert dataclasses.is_dataclass(method) and hash(method) == hash(dataclasses.replace(method))
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.title = 'another'
    assert method.title and method.loss_in_words and method.num_clusters == 3 and method.reach > 0
    method.check((8, 16, 16, 3), 2)


def test_first_parameters_are_drawn_without_being_computed_and_follow_from_the_key(case):
    image = tiny.random_batch()['image']
    params, extra = jax.eval_shape(case.method.init, jax.random.key(0), image)
    assert _forms((params, extra)) == _forms((case.params, case.extra))
    assert params and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params))
    # Refuses groups that have no parameters.
    jax.eval_shape(optimizer.optimizer(**common.adam(), steps=1, restarted=case.method.restarted).tx.init, params)


def test_a_step_keeps_the_form_of_the_state_and_gives_words(case):
    (loss, (extra, metrics)), gradients = case.step(case.params, case.extra, tiny.random_batch(), jax.random.key(1))
    assert loss.shape == () and np.isfinite(loss)
    assert (_forms(extra), _forms(gradients)) == (_forms(case.extra), _forms(case.params))
    assert all(value.shape == () for value in metrics.values())
    remark = case.method.describe({name: float(value) for name, value in {**metrics, 'loss': loss}.items()})
    assert remark.words and '\n' not in remark.words and isinstance(remark.warning, str)


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

    found = modules(case.extra[BATCH_STATS])
    assert found and found <= modules(case.params)


@pytest.mark.parametrize(('height', 'width'), [(16, 16), (14, 11)])
def test_scores_are_probabilities_of_the_pixels_of_images_of_any_size(case, height, width):
    image = tiny.random_batch(2)['image'][:, :height, :width]
    outputs = jax.jit(case.method.predict, compiler_options=tiny.QUICK)(case.params, case.extra, image)
    assert outputs['scores'].shape == (2, height, width, case.method.num_clusters)
    assert outputs['scores'].dtype == jnp.float32 and outputs['scores'].min() >= 0
    np.testing.assert_allclose(outputs['scores'].sum(axis=-1), 1, rtol=1e-5)
    assert outputs['features'].ndim == outputs['logits'].ndim == 4
