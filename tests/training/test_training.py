"""The loop's parts on real arrays: devices, checkpoints, restarts."""

import dataclasses
import functools
import itertools
import json
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ar_seg_jax import sharding
from ar_seg_jax.errors import Diverged, Stalled, UserError
from ar_seg_jax.methods.ac import AC
from ar_seg_jax.models.autoregressive import Autoregressive
from ar_seg_jax.orderings import ORDERINGS
from ar_seg_jax.training import delivery, loop
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.optimizer import Optimizer
from ar_seg_jax.training.outputs import Outputs
from ar_seg_jax.training.step import Watch, make_train_step
from ar_seg_jax.training.stopping import Stop
from tests.support import feeds, parity, tiny
from tests.support.feeds import mesh_of
from tests.support.parity import SHAPE

pytestmark = pytest.mark.usefixtures('compiled_once')

ADAM = Optimizer(optax.adam(1e-3))
# Adam turns the rounding noise of a gradient that is zero (that of a bias before batch norm) into steps of full length.
PLAIN = optax.sgd(0.1, momentum=0.9)
BAD_LOSS, BAD_GRADIENT = 1, 2  # labels of batches


class Spoilable(AC):
    """AC whose loss is not finite, or only its gradients, for batches with such labels."""

    def objective(self, outputs, batch, *, time):
        loss, metrics = super().objective(outputs, batch, time=time)
        # The square root of zero is finite, and its derivative is not.
        zero = jnp.where(jnp.any(batch['label'] == BAD_GRADIENT), 0, 1) * jnp.sum(outputs['decoder'][0])
        return jnp.where(jnp.any(batch['label'] == BAD_LOSS), jnp.nan, loss + 0 * jnp.sqrt(zero)), metrics


METHOD = Spoilable(**vars(tiny.ac(num_clusters=4)))


def _task(devices=1, labels=(), **options):
    return feeds.task(METHOD, ADAM, feeds.Numbered(functools.partial(parity.batch, labels=labels), mesh_of(devices)), **options)


def _assert_alike(found, expected):
    """Losses to 1e-3 relative, parameters and batch statistics to 1e-3 relative or 1e-5, and 1 pixel in 500."""
    (losses, leaves, confusion), (expected_losses, expected_leaves, expected_confusion) = found, expected
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-3, atol=1e-6)
    for one, two in zip(leaves, expected_leaves, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)
    assert np.abs(confusion - expected_confusion).sum() <= 2 * expected_confusion.sum() / 500


@pytest.fixture(scope='module')
def on_one_device():
    losses, state, confusion = parity.trained(mesh_of(1), PLAIN)
    assert losses[-1] < 1.5 * losses[0] < 0  # something was learned
    assert confusion.sum() == 4 * np.prod(SHAPE[:3]) and np.count_nonzero(confusion.sum(1)) > 1
    return losses, parity.leaves(state), confusion


def test_eight_devices_train_and_score_alike(on_one_device):
    losses, state, confusion = parity.trained(mesh_of(8), PLAIN)
    _assert_alike((losses, parity.leaves(state), confusion), on_one_device)


def test_two_processes_of_two_devices_train_and_score_alike(tmp_path, on_one_device):
    line = [sys.executable, parity.__file__, str(tmp_path / 'result.npz')]
    done = subprocess.run(line, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    result = np.load(tmp_path / 'result.npz')
    leaves = [result[name] for name in sorted(result) if name.startswith('leaf')]
    _assert_alike((result['losses'], leaves, result['confusion']), on_one_device)
    assert np.abs(result['whole']).max() > 1e-3
    np.testing.assert_allclose(result['split'], result['whole'], rtol=1e-3, atol=1e-5)
    loss, centroids = parity.represented(mesh_of(1), optax.sgd(0.1))
    one, two = (np.load(f'{tmp_path / "result.npz"}.arl{index}.npz') for index in range(2))
    np.testing.assert_array_equal(one['centroids'], two['centroids'])
    np.testing.assert_allclose(one['centroids'], centroids, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose((one['loss'], two['loss']), loss, rtol=1e-4)


@pytest.mark.parametrize(
    ('micro_batches', 'parts', 'nearest'), [(1, '8 devices', '8 or 16'), (2, '8 devices x 2 micro-batches', '16')]
)
def test_a_batch_that_does_not_divide_is_refused_with_those_that_do(micro_batches, parts, nearest):
    message = rf'^batch size 12 does not divide over {parts}; set --config\.pipeline\.batch_size to {nearest}\. The learning rate'
    with pytest.raises(UserError, match=message):
        sharding.check_batch_size(12, 8, 'pipeline.batch_size', micro_batches)
    with pytest.raises(UserError, match=r'under Adam: times 0\.82 or 1\.15$'):  # the roots of 8 / 12 and of 16 / 12
        sharding.check_batch_size(12, 8, 'pipeline.batch_size')
    with pytest.raises(UserError, match=r'set --config\.evaluation\.batch_size to 8 or 16$'):
        sharding.check_batch_size(12, 8, 'evaluation.batch_size', learns=False)
    with pytest.raises(UserError, match=r'^batch size 0 does not divide over 8 devices; .* to 8$'):
        sharding.check_batch_size(0, 8, 'pipeline.batch_size')


def test_a_checkpoint_is_restored_on_other_devices(tmp_path):
    state = _task(devices=8).initial_state()
    checkpoints = Checkpoints(tmp_path / 'checkpoints', writable=True)
    checkpoints.save(state)
    checkpoints.close()
    restored = Checkpoints(tmp_path / 'checkpoints').restore(_task(devices=1, seed=1).shapes())
    np.testing.assert_array_equal(jax.random.key_data(restored.key), jax.random.key_data(state.key))
    for one, two in zip(jax.tree.leaves(state.params), jax.tree.leaves(restored.params), strict=True):
        np.testing.assert_array_equal(one, two)
        assert two.sharding.device_set == {jax.devices()[0]}


def test_absent_checkpoints_are_named(tmp_path):
    checkpoints = Checkpoints(tmp_path / 'checkpoints', writable=True)
    state = _task().initial_state()
    with pytest.raises(UserError, match=r'checkpoints: no checkpoint; train first with python -m ar_seg_jax\.main$'):
        checkpoints.restore(state)
    checkpoints.save(state)
    with pytest.raises(UserError, match=r'checkpoints: no checkpoint of step 1; the steps are 0$'):
        checkpoints.restore(state, 1)


def _run(directory, task, *, steps, limit=3, checkpoint_every=0, evaluate=lambda state, guard: Evaluation({})):
    with Stop(task.mesh) as stop:
        return loop.run(
            task,
            Checkpoints(directory / 'checkpoints', writable=True),
            schedule=loop.Schedule(steps, log_every=1, evaluate_every=0, checkpoint_every=checkpoint_every),
            evaluate=evaluate,
            watch=Watch(limit, 1e-3),
            stop=stop,
            outputs=Outputs(directory),
        )


def _records(directory):
    return [json.loads(line) for line in (directory / 'metrics.jsonl').read_text().splitlines()]


@pytest.mark.parametrize(('label', 'first'), [(BAD_LOSS, 'loss'), (BAD_GRADIENT, 'gradient of ')])
def test_steps_that_are_not_finite_are_skipped_counted_and_named(tmp_path, caplog, label, first):
    task = _task(labels=[(1, label)])
    spoiled = _run(tmp_path, task, steps=3)
    assert f'Step 2 was not applied: {first}' in caplog.text and 'is not finite (1 in all)' in caplog.text
    assert (int(spoiled.step), int(spoiled.skipped), int(spoiled.skipped_in_row)) == (3, 1, 0)
    records = _records(tmp_path)
    assert [record['skipped_steps'] for record in records if record['kind'] == 'training'] == [0, 1, 1]
    assert (records[1]['loss'] is None) == (label == BAD_LOSS)
    # What is left is what the other steps would have given: those of a loop that leaves out batch 1.
    state, train_step = task.initial_state(), task.compiled_step()
    for step in (0, 2):
        state = state.replace(step=jax.device_put(np.int32(step), state.step.sharding))
        with jax.set_mesh(task.mesh):
            state, *_ = train_step(state, next(task.data.placed(step)))
    for one, two in zip(jax.tree.leaves(state.params), jax.tree.leaves(spoiled.params), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((spoiled.params, spoiled.extra, spoiled.opt_state)))


def test_too_many_of_them_in_a_row_end_the_run_and_the_last_checkpoint_is_kept(tmp_path):
    task = _task(labels=[(index, BAD_LOSS) for index in (1, 2, 4, 5, 6, 7, 8)])
    message = r'3 steps in a row, up to step 7, .* first quantity that is not finite is loss\. The learning rate is 0\.001'
    with pytest.raises(Diverged, match=message):
        _run(tmp_path, task, steps=20, checkpoint_every=4)
    assert Checkpoints(tmp_path / 'checkpoints').latest == 4


def test_an_evaluation_that_was_not_recorded_is_made_up_for(tmp_path):
    def killed(state, guard):
        raise Diverged

    task = _task()
    with pytest.raises(Diverged):
        _run(tmp_path, task, steps=2, checkpoint_every=2, evaluate=killed)
    Checkpoints(tmp_path / 'checkpoints').restore(task.shapes(), 2)
    for _ in range(2):
        _run(tmp_path, task, steps=2, evaluate=lambda state, guard: Evaluation({'seen': float(state.step)}))
    records = _records(tmp_path)
    assert [(record['step'], record['kind']) for record in records] == [(1, 'training'), (2, 'training'), (2, 'evaluation')]
    assert records[-1]['seen'] == 2


def test_a_run_that_has_finished_asks_for_no_images(tmp_path, monkeypatch):
    _run(tmp_path, _task(), steps=1)
    monkeypatch.setattr(feeds.Numbered, 'training', lambda *_: pytest.fail('images were asked for'))
    _run(tmp_path, _task(), steps=1)


def test_where_no_images_come_any_more_the_run_ends_with_everything_saved(tmp_path, monkeypatch):
    def batch(index):
        return threading.Event().wait() if index >= 3 else parity.batch(index)

    monkeypatch.setattr(delivery, 'PATIENCE', 1.0)
    task = feeds.task(METHOD, ADAM, feeds.Numbered(batch, mesh_of(1)))
    with pytest.raises(Stalled, match=r'^no images came for 1 s: reading hangs, .* the same command goes on$'):
        _run(tmp_path, task, steps=20)
    _run(tmp_path, _task(), steps=4)
    whole = tmp_path / 'whole'
    _run(whole, _task(), steps=4)
    losses, expected = ([record.get('loss') for record in _records(directory)] for directory in (tmp_path, whole))
    assert losses == expected
    one, other = (Checkpoints(directory / 'checkpoints').restore(task.shapes()) for directory in (tmp_path, whole))
    assert int(one.step) == 4
    for first, second in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_array_equal(first, second)


_followed = []  # the flags of both orderings of each step


class Watched(Autoregressive):
    """The model, which tells what it follows while it runs."""

    def scan(self, image, views, *, train=False):
        if train:
            jax.debug.callback(lambda *flags: _followed.append(tuple(map(bool, flags))), *jax.tree.leaves(views))
        return super().scan(image, views, train=train)


def test_hundreds_of_pairs_of_orderings_share_one_program():
    method = tiny.ac(num_clusters=4, displacement=1, orderings='all')
    options = {field.name: getattr(method.model, field.name) for field in dataclasses.fields(method.model)}
    method = dataclasses.replace(method, model=Watched(**options))
    image = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    feed = feeds.Numbered(lambda index: {'image': image, 'label': image[..., 0]}, mesh_of(1))
    task = feeds.task(method, Optimizer(optax.sgd(1e-3)), feed)
    step = make_train_step(method, task.optimizer, epochs=feed.epochs)
    # It runs often enough for some of LLVM's optimisations to pay.
    train_step = jax.jit(step, donate_argnums=0, compiler_options={'xla_backend_optimization_level': 1})
    state = task.initial_state()
    for batch in itertools.islice(task.data.placed(), 500):
        with jax.set_mesh(task.mesh):
            state, *_ = train_step(state, batch)
    jax.effects_barrier()
    assert train_step._cache_size() == 1 and int(state.step) == 500
    assert len(_followed) == 500
    flags = {tuple(jax.tree.leaves(ordering)) for ordering in ORDERINGS.values()}
    assert {pair[:4] for pair in _followed} | {pair[4:] for pair in _followed} == flags
    assert len(set(_followed)) > 190  # of 16 x 16; 220 are expected
