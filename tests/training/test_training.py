"""The loop's parts on real arrays: devices, checkpoints, restarts."""

import grain
import jax
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from ar_seg_jax.methods.ac import AC
from ar_seg_jax.models.autoregressive import Autoregressive
from ar_seg_jax.objectives.mutual_information import InformationLoss
from ar_seg_jax.training import loop, sharding
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.step import make_train_step

METHOD = AC(Autoregressive(num_clusters=4, blocks=1), InformationLoss(displacement=2))
TX = optax.adam(1e-3)
# Adam turns the rounding noise of a gradient that is zero (that of a bias before batch norm) into steps of full length.
PLAIN = optax.sgd(0.1, momentum=0.9)
SHAPE = (8, 24, 24, 3)


def _mesh(devices):
    return jax.make_mesh((devices,), ('data',), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


def _batches():
    """Smooth random images, as an iterator whose place can be saved."""

    def batch(index):
        rng = np.random.default_rng(index)
        coarse = rng.integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
        return {'image': coarse.repeat(4, 1).repeat(4, 2), 'label': np.zeros(SHAPE[:3], np.uint8)}

    return iter(grain.MapDataset.range(1000).map(batch).to_iter_dataset(grain.ReadOptions(num_threads=0)))


def _trained(devices, tx, steps=5):
    mesh = _mesh(devices)
    state = loop.initial_state(METHOD, tx, 0, SHAPE, mesh)
    train_step = jax.jit(make_train_step(METHOD, tx))
    losses, batches = [], _batches()
    for _ in range(steps):
        state, metrics = train_step(state, sharding.place(next(batches), sharding.split_batch(mesh)))
        losses.append(float(metrics['loss']))
    return state, losses


def test_one_and_eight_devices_train_alike():
    (one, one_losses), (eight, eight_losses) = _trained(1, PLAIN), _trained(8, PLAIN)
    np.testing.assert_allclose(eight_losses, one_losses, rtol=1e-3, atol=1e-6)
    assert one_losses[-1] < 1.5 * one_losses[0] < 0  # something was learned
    for a, b in zip(jax.tree.leaves((one.params, one.extra)), jax.tree.leaves((eight.params, eight.extra)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_a_batch_that_does_not_divide_over_the_devices_is_refused():
    with pytest.raises(ValueError, match='batch size 12 does not divide over 8 devices; use a multiple of 8'):
        sharding.check_batch_size(12, _mesh(8))


def test_a_checkpoint_gives_back_state_and_place_in_the_data_on_other_devices(tmp_path):
    state, _ = _trained(8, TX, steps=1)
    batches = _batches()
    next(batches)
    checkpoints = Checkpoints(tmp_path / 'checkpoints')
    checkpoints.save(state, batches)
    checkpoints.close()
    expected = next(batches)['image']
    like, again = loop.initial_state(METHOD, TX, 1, SHAPE, _mesh(1)), _batches()
    restored = Checkpoints(tmp_path / 'checkpoints').restore(like, batches=again)
    np.testing.assert_array_equal(next(again)['image'], expected)
    assert int(restored.step) == 1
    np.testing.assert_array_equal(jax.random.key_data(restored.key), jax.random.key_data(state.key))
    for one, two in zip(jax.tree.leaves(state.params), jax.tree.leaves(restored.params), strict=True):
        np.testing.assert_array_equal(one, two)
        assert two.sharding.device_set == {jax.devices()[0]}


def test_the_newest_checkpoints_are_kept_and_absent_ones_named(tmp_path):
    checkpoints = Checkpoints(tmp_path / 'checkpoints', keep=2)
    state = loop.initial_state(METHOD, TX, 0, SHAPE, _mesh(1))
    with pytest.raises(FileNotFoundError, match=r'no checkpoint; train first'):
        checkpoints.restore(state)
    for step in (1, 2, 3):
        checkpoints.save(state.replace(step=np.int32(step)), _batches())
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path / 'checkpoints', keep=2)
    assert checkpoints.latest == 3
    with pytest.raises(ValueError, match=r'no checkpoint of step 1; the steps are 2, 3'):
        checkpoints.restore(state, 1)


def test_a_loss_that_is_not_finite_stops_the_run_with_advice(tmp_path):
    with pytest.raises(FloatingPointError, match=r'the loss is nan at step \d+; lower the learning rate'):
        loop.run(
            METHOD,
            optax.sgd(np.nan),
            _batches(),
            _mesh(1),
            Checkpoints(tmp_path / 'checkpoints'),
            schedule=loop.Schedule(steps=3, log_every=1, evaluate_every=0, checkpoint_every=0),
            seed=0,
            image_shape=SHAPE,
            evaluate=lambda state: {},
            workdir=tmp_path,
        )
