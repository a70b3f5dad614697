"""What a config and a method say arrives where it belongs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax import sharding
from ar_seg_jax.epochs import Cadence
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Method
from ar_seg_jax.runs import assembly
from ar_seg_jax.training.checkpoint import Checkpoints
from configs import common, textures
from tests.support import feeds

RATE = 0.1


def _config(**changes):
    return {**textures.get_config().to_dict(), **changes}


def _feed(batch_size=8, images=24):
    rng = np.random.default_rng(0)
    batches = rng.integers(0, 256, (8, batch_size, 2, 2, 3), dtype=np.uint8)
    return feeds.Numbered(lambda index: {'image': batches[index], 'label': batches[index][..., 0]}, feeds.mesh_of(1), images)


@pytest.mark.parametrize(
    ('images', 'batch_size', 'epochs', 'steps'),
    [(100, 60, 10.0, 17), (96, 8, 2.0, 24), (100, 80, 2.0, 3), (100, 80, 0.5, 1), (100, 80, 1e-3, 1)],
)
def test_a_training_of_epochs_has_all_their_steps(images, batch_size, epochs, steps):
    feed = _feed(batch_size, images)
    found = assembly.schedule(_config(steps=0, epochs=epochs), feed)
    assert found.steps == steps
    if epochs >= 1:
        assert sum(Cadence().due(step, feed.epochs) for step in range(steps)) == epochs


@dataclasses.dataclass(frozen=True)
class Nested(Method):
    """Two layers of one network, the second of which is drawn anew after each two steps."""

    title = loss_in_words = ''
    num_clusters = 0
    refresh_when = Cadence(2, 'steps', first=2)
    restarted = ('network/decoder',)

    def init(self, key, image):
        keys = jax.random.split(key, 3)
        shapes = {'stem': (3, 3), 'decoder': (3,), 'decoder2': (3,)}
        return {'network': {name: jax.random.normal(key, shapes[name]) for name, key in zip(shapes, keys, strict=True)}}, {}

    def forward(self, params, extra, batch, *, key, time, part=0):
        network = params['network']
        hidden = jnp.tanh(batch['image'].mean((1, 2)) / 255 @ network['stem'])
        return hidden @ (network['decoder'] + network['decoder2']), extra

    def objective(self, outputs, batch, *, time):
        return jnp.mean((outputs - 9) ** 2), {}

    def refresh(self, params, extra, batches, *, key, time):
        return {'network': {**params['network'], 'decoder': jax.random.normal(key, (3,))}}, extra

    def predict(self, params, extra, image):
        return {}


def _task(frozen=('network/stem',)):
    adam = common.adam() | {'learning_rate': RATE}
    feed = _feed()
    return assembly.task(_config(optimizer=adam, frozen=frozen), Nested(), feed, feed.mesh)


def _trained(task, state, steps):
    train_step, batches = task.compiled_step(), task.data.training(int(state.step))
    for step in range(int(state.step), steps):
        if task.refreshes(step):
            state = task.refreshed(state, iter)
        with jax.set_mesh(task.mesh):
            state, *_ = train_step(state, sharding.place(next(batches), sharding.split_batch(task.mesh)))
    return state


def test_frozen_and_restarted_groups_reach_the_optimiser():
    task = _task()
    stem = np.asarray(task.initial_state().params['network']['stem'])
    state = _trained(task, task.initial_state(), 2)
    drawn = jax.tree.map(np.asarray, task.refreshed(state, iter).params['network'])
    after = _trained(task, state, 3).params['network']
    np.testing.assert_array_equal(after['stem'], stem)
    # Adam's first step is the rate, up or down, of any gradient; the third is not, where gradients differ from step to step.
    np.testing.assert_allclose(abs(after['decoder'] - drawn['decoder']), RATE, rtol=1e-4)
    assert not np.isclose(abs(after['decoder2'] - drawn['decoder2']), RATE, rtol=1e-4).any()


def test_what_the_method_draws_anew_cannot_be_frozen():
    with pytest.raises(UserError, match=r"^'network' cannot be frozen: the method draws 'network/decoder' anew; take it out of"):
        _task(frozen=('network',))


@pytest.mark.parametrize('steps', [3, 4])
def test_nested_groups_go_on_from_a_checkpoint_with_the_same_bits(tmp_path, steps):
    task = _task()
    checkpoints = Checkpoints(tmp_path, writable=True)
    checkpoints.save(_trained(task, task.initial_state(), steps))
    checkpoints.close()
    found = _trained(task, Checkpoints(tmp_path).restore(task.shapes()), 6)
    expected = _trained(task, task.initial_state(), 6)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, two in zip(*(jax.tree.leaves(state.replace(key=())) for state in (found, expected)), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ('evaluators', 'expected'),
    [
        ({'segmentation': {'protocols': ['many-to-one:train', 'one-to-one']}}, 'many-to-one'),
        ({'segmentation': {'protocols': []}}, 'one-to-one'),
        ({}, 'one-to-one'),
    ],
)
def test_clusters_are_matched_as_under_the_first_protocol(evaluators, expected):
    assert assembly.matching(_config(evaluators=evaluators)) == expected


def test_protocols_that_anybody_may_have_written_are_checked():
    for protocols, message in ((['best'], "found 'best'"), ([3], r'protocols\[0\]: expected a text, found 3')):
        with pytest.raises(UserError, match=message):
            assembly.matching(_config(evaluators={'segmentation': {'protocols': protocols}}))
