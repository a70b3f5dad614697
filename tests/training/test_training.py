"""The loop's parts on real arrays: devices, checkpoints, restarts."""

import dataclasses
import functools
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import parity
import pytest
from ar_seg_jax.methods.views import Views
from ar_seg_jax.training.watch import Watch
from jax.sharding import AxisType
from parity import SHAPE

from ar_seg_jax.methods.ac import AC
from ar_seg_jax.models.autoregressive import Autoregressive
from ar_seg_jax.objectives.mutual_information import InformationLoss
from ar_seg_jax.orderings import ORDERINGS, sample_pair, stack
from ar_seg_jax.training import loop, sharding
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.step import make_train_step
from ar_seg_jax.training.stopping import Stop

METHOD = AC(Autoregressive(num_clusters=4, blocks=1), InformationLoss(displacement=2))
TX = optax.adam(1e-3)
# Adam turns the rounding noise of a gradient that is zero (that of a bias before batch norm) into steps of full length.
PLAIN = optax.sgd(0.1, momentum=0.9)


def _mesh(devices):
    return jax.make_mesh((devices,), ('data',), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


def _assert_alike(found, expected):
    """Losses to 1e-3 relative, parameters and batch statistics to 1e-3 relative or 1e-5, and 1 pixel in 500."""
    (losses, leaves, confusion), (expected_losses, expected_leaves, expected_confusion) = found, expected
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-3, atol=1e-6)
    for one, two in zip(leaves, expected_leaves, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)
    assert np.abs(confusion - expected_confusion).sum() <= 2 * expected_confusion.sum() / 500


@pytest.fixture(scope='module')
def on_one_device():
    losses, state, confusion = parity.trained(_mesh(1), PLAIN)
    assert losses[-1] < 1.5 * losses[0] < 0  # something was learned
    assert confusion.sum() == 4 * np.prod(SHAPE[:3]) and np.count_nonzero(confusion.sum(1)) > 1
    return losses, parity.leaves(state), confusion


def test_eight_devices_train_and_score_alike(on_one_device):
    losses, state, confusion = parity.trained(_mesh(8), PLAIN)
    _assert_alike((losses, parity.leaves(state), confusion), on_one_device)


def test_two_processes_of_two_devices_train_and_score_alike(tmp_path, on_one_device):
    line = [sys.executable, parity.__file__, str(tmp_path / 'result.npz')]
    done = subprocess.run(line, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    result = np.load(tmp_path / 'result.npz')
    leaves = [result[name] for name in sorted(result) if name.startswith('leaf')]
    _assert_alike((result['losses'], leaves, result['confusion']), on_one_device)
    loss, centroids = parity.represented(_mesh(1), optax.sgd(0.1))
    one, two = (np.load(f'{tmp_path / "result.npz"}.arl{index}.npz') for index in range(2))
    np.testing.assert_array_equal(one['centroids'], two['centroids'])
    np.testing.assert_allclose(one['centroids'], centroids, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose((one['loss'], two['loss']), loss, rtol=1e-4)


@pytest.mark.parametrize(('micro_batches', 'parts', 'multiple'), [(1, '8 devices', 8), (2, '8 devices x 2 micro-batches', 16)])
def test_a_batch_that_does_not_divide_is_refused(micro_batches, parts, multiple):
    message = f'batch size 12 does not divide over {parts}; use a multiple of {multiple} for --config.pipeline.batch_size'
    with pytest.raises(ValueError, match=message):
        sharding.check_batch_size(12, _mesh(8), 'pipeline.batch_size', micro_batches)


def test_a_checkpoint_is_restored_on_other_devices(tmp_path):
    state = loop.initial_state(METHOD, TX, 0, SHAPE, _mesh(8))
    checkpoints = Checkpoints(tmp_path / 'checkpoints', writable=True)
    checkpoints.save(state)
    checkpoints.close()
    restored = Checkpoints(tmp_path / 'checkpoints').restore(loop.initial_state(METHOD, TX, 1, SHAPE, _mesh(1)))
    np.testing.assert_array_equal(jax.random.key_data(restored.key), jax.random.key_data(state.key))
    for one, two in zip(jax.tree.leaves(state.params), jax.tree.leaves(restored.params), strict=True):
        np.testing.assert_array_equal(one, two)
        assert two.sharding.device_set == {jax.devices()[0]}


def test_absent_checkpoints_are_named(tmp_path):
    checkpoints = Checkpoints(tmp_path / 'checkpoints', writable=True)
    state = loop.initial_state(METHOD, TX, 0, SHAPE, _mesh(1))
    with pytest.raises(FileNotFoundError, match=r'no checkpoint; train first'):
        checkpoints.restore(state)
    checkpoints.save(state)
    with pytest.raises(ValueError, match=r'no checkpoint of step 1; the steps are 0'):
        checkpoints.restore(state, 1)


@dataclasses.dataclass(frozen=True)
class Spoilable(AC):
    """AC whose loss is not finite, or only its gradients, for batches labelled 1."""

    only_gradients: bool = False

    def objective(self, outputs, batch, *, step):
        loss, metrics = super().objective(outputs, batch, step=step)
        spoiled = jnp.any(batch['label'] == 1)
        if self.only_gradients:  # the square root of zero is finite, and its derivative is not
            return loss + 0 * jnp.sqrt(jnp.where(spoiled, 0, 1) * jnp.sum(outputs['scores'][0])), metrics
        return jnp.where(spoiled, jnp.nan, loss), metrics


def _run(tmp_path, method, *, steps, spoiled, limit=3, checkpoint_every=0, evaluate=lambda state: Evaluation({})):
    mesh = _mesh(1)
    checkpoints = Checkpoints(tmp_path / 'checkpoints', writable=True)
    with Stop(mesh) as stop:
        return loop.run(
            method,
            TX,
            functools.partial(parity.batches, spoiled=spoiled),
            mesh,
            checkpoints,
            schedule=loop.Schedule(steps, log_every=1, evaluate_every=0, checkpoint_every=checkpoint_every),
            seed=0,
            image_shape=SHAPE,
            micro_batches=1,
            refresh=lambda state: state,
            evaluate=evaluate,
            watch=Watch(limit, 1e-3),
            stop=stop,
            workdir=tmp_path,
        )


@pytest.mark.parametrize('only_gradients', [False, True])
def test_steps_that_are_not_finite_are_skipped_counted_and_named(tmp_path, caplog, only_gradients):
    method = Spoilable(METHOD.model, METHOD.information, only_gradients=only_gradients)
    spoiled = _run(tmp_path / 'spoiled', method, steps=3, spoiled=(1,))
    first = 'gradient of ' if only_gradients else 'loss'
    assert f'Step 2 was not applied: {first}' in caplog.text and 'is not finite (1 in all)' in caplog.text
    assert (int(spoiled.step), int(spoiled.skipped), int(spoiled.skipped_in_row)) == (3, 1, 0)
    records = [json.loads(line) for line in (tmp_path / 'spoiled' / 'metrics.jsonl').read_text().splitlines()]
    assert [record['skipped_steps'] for record in records if record['kind'] == 'training'] == [0, 1, 1]
    assert (records[1]['loss'] is None) != only_gradients
    # What is left is what the other steps would have given: those of a loop that leaves out batch 1.
    state = loop.initial_state(method, TX, 0, SHAPE, _mesh(1))
    train_step = jax.jit(make_train_step(method, TX))
    for step in (0, 2):
        state = state.replace(step=jnp.int32(step))
        state, *_ = train_step(state, next(parity.batches(step)))
    for one, two in zip(jax.tree.leaves(state.params), jax.tree.leaves(spoiled.params), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((spoiled.params, spoiled.extra, spoiled.opt_state)))


def test_too_many_of_them_in_a_row_end_the_run_and_the_last_checkpoint_is_kept(tmp_path):
    method = Spoilable(METHOD.model, METHOD.information)
    message = r'3 steps in a row, up to step 7, .* first quantity that is not finite is loss\. The learning rate is 0\.001'
    with pytest.raises(FloatingPointError, match=message):
        _run(tmp_path, method, steps=20, spoiled=(1, 2, 4, 5, 6, 7, 8), checkpoint_every=4)
    assert Checkpoints(tmp_path / 'checkpoints').latest == 4


def test_an_evaluation_that_was_not_recorded_is_made_up_for(tmp_path):
    def killed(state):
        raise FloatingPointError

    with pytest.raises(FloatingPointError):
        _run(tmp_path, METHOD, steps=2, spoiled=(), checkpoint_every=2, evaluate=killed)
    Checkpoints(tmp_path / 'checkpoints').restore(loop.initial_state(METHOD, TX, 0, SHAPE, _mesh(1)), 2)
    for _ in range(2):
        _run(tmp_path, METHOD, steps=2, spoiled=(), evaluate=lambda state: Evaluation({'seen': float(state.step)}))
    records = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert [(record['step'], record['kind']) for record in records] == [(1, 'training'), (2, 'training'), (2, 'evaluation')]
    assert records[-1]['seen'] == 2


def test_a_thousand_pairs_of_orderings_share_one_program():
    """The step as the loop runs it. Its pairs are drawn again, from the keys that the steps had."""
    mesh, names = _mesh(1), tuple(ORDERINGS)
    method = AC(METHOD.model, InformationLoss(displacement=1), Views(names))
    state = loop.initial_state(method, TX, 0, (2, 8, 8, 3), mesh)
    key = jax.random.clone(state.key)
    # It runs often enough for LLVM's optimisations to pay.
    optimised = {'xla_backend_optimization_level': 3}
    train_step = jax.jit(make_train_step(method, TX), donate_argnums=0, compiler_options=optimised)
    image = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    for _ in range(1000):
        batch = sharding.place({'image': image, 'label': image[..., 0]}, sharding.split_batch(mesh))
        with jax.set_mesh(mesh):
            state, *_ = train_step(state, batch)
    assert train_step._cache_size() == 1 and int(state.step) == 1000
    keys = jax.vmap(lambda step: jax.random.split(jax.random.fold_in(key, step))[0])(jnp.arange(1000))
    pairs = jax.jit(jax.vmap(lambda key: sample_pair(key, stack(names))))(keys)
    drawn = np.unique(np.stack(jax.tree.leaves(pairs), axis=1), axis=0)
    assert len(drawn) > 240  # of 16 x 16
