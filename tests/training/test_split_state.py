"""The optimiser's state, split over the devices: the same training with less memory on each."""

import functools
import itertools
import json

import jax
import numpy as np
import optax
import pytest

from ar_seg_jax.training import loop
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.optimizer import Optimizer
from ar_seg_jax.training.outputs import Outputs
from ar_seg_jax.training.step import Watch
from ar_seg_jax.training.stopping import Stop
from benchmarks import communication, programs
from tests.support import feeds, parity, tiny

pytestmark = pytest.mark.usefixtures('compiled_once')

# With a smaller epsilon a gradient that is only rounding, as of a bias before batch norm, would become a whole step.
ADAM = optax.adam(1e-3, eps=1e-4)
METHOD = tiny.ac(num_clusters=4)


def _task(devices, split):
    return feeds.task(METHOD, Optimizer(ADAM, shard_state=split), feeds.Numbered(parity.batch, feeds.mesh_of(devices)))


def _steps(task, state, numbers):
    """Losses of steps with batches of these numbers, and the last state."""
    losses, train_step = [], task.compiled_step()
    for batch in itertools.islice(task.data.placed(), numbers.start, numbers.stop):
        with jax.set_mesh(task.mesh):
            state, metrics, _ = train_step(state, batch)
        losses.append(float(metrics['loss']))
    return losses, state


def _moments(state):
    return [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]


@functools.cache
def _trained(split, devices=8):
    task = _task(devices, split)
    return (task, *_steps(task, task.initial_state(), range(5)))


def test_training_is_that_of_a_whole_state():
    (_, losses, state), (_, expected, whole) = _trained(True), _trained(False)
    assert expected[-1] < 1.5 * expected[0] < 0  # something was learned
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for one, other in zip(jax.tree.leaves(state.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_each_device_has_its_part_of_the_moments_and_all_parameters():
    _, _, state = _trained(True)
    for leaf in _moments(state):
        part = leaf.addressable_data(0).size
        assert part == (leaf.size // 8 if any(side % 8 == 0 for side in leaf.shape) else leaf.size), leaf.shape
    assert sum(leaf.addressable_data(0).size for leaf in _moments(state)) < sum(leaf.size for leaf in _moments(state)) / 7.9
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state.params))


def _compiled(split):
    lowered, state = programs.lower_step(METHOD, Optimizer(ADAM, shard_state=split), (16, 16, 16, 3))
    return lowered.compile(), state


def test_the_program_needs_less_memory_and_sends_gradients_and_parameters_once():
    (whole, state), (split, _) = _compiled(False), _compiled(True)
    parameters = 4 * sum(leaf.size for leaf in jax.tree.leaves(state.params))
    saved = whole.memory_analysis().argument_size_in_bytes - split.memory_analysis().argument_size_in_bytes
    assert 0.99 * (7 / 8) * 2 * parameters < saved <= (7 / 8) * 2 * parameters
    sent = communication.collectives(split.as_text())
    by_kind = {kind: sum(array.bytes for array in sent if array.kind == kind) for kind in {array.kind for array in sent}}
    assert set(by_kind) == {'all-reduce', 'reduce-scatter', 'all-gather'}
    # What comes out of a scattered sum is one part of it; of what no axis divides, all is summed.
    assert 0.99 * parameters < 8 * by_kind['reduce-scatter'] <= parameters
    assert 0.99 * parameters < by_kind['all-gather'] <= parameters
    assert by_kind['all-reduce'] < 0.01 * parameters


def _saved(task, state, directory):
    checkpoints = Checkpoints(directory, writable=True)
    checkpoints.save(task.whole(state))
    checkpoints.close()
    return json.loads(next(directory.glob('*/checksums/*')).read_text())


def test_a_checkpoint_does_not_tell_whether_the_state_was_split(tmp_path):
    """It is that of a whole state, to the bit, and goes on with one and on other devices."""
    task, _, state = _trained(True)
    split = _saved(task, state, tmp_path / 'split')
    whole = _task(8, split=False)
    restored = Checkpoints(tmp_path / 'split').restore(whole.shapes())
    assert _saved(whole, restored, tmp_path / 'whole') == split
    expected, _ = _steps(task, task.split(restored), range(5, 7))
    for devices in (1, 8):
        other = _task(devices, split=devices == 8)
        again = other.split(Checkpoints(tmp_path / 'whole').restore(other.shapes()))
        found, _ = _steps(other, again, range(5, 7))
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert devices == 1 or found == expected


def _run(directory, steps):
    task = _task(8, split=True)
    with Stop(task.mesh) as stop:
        return loop.run(
            task,
            Checkpoints(directory / 'checkpoints', writable=True),
            schedule=loop.Schedule(steps, log_every=1, evaluate_every=0, checkpoint_every=0),
            evaluate=lambda state, guard: Evaluation({}),
            watch=Watch(3, 1e-3),
            stop=stop,
            outputs=Outputs(directory),
        )


def test_a_run_that_goes_on_ends_with_the_same_bits(tmp_path):
    _run(tmp_path / 'two', 1)
    found, expected = _run(tmp_path / 'two', 3), _run(tmp_path / 'one', 3)
    for one, other in zip(jax.tree.leaves(found.opt_state), jax.tree.leaves(expected.opt_state), strict=True):
        assert one.sharding == other.sharding
        np.testing.assert_array_equal(one, other)
    for one, other in zip(jax.tree.leaves(found.params), jax.tree.leaves(expected.params), strict=True):
        np.testing.assert_array_equal(one, other)
