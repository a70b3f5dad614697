"""Methods that do something between steps: when they are asked to, and that a run which was stopped anywhere ends the same."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax.core import FrozenDict

from ar_seg_jax import parallel, sharding
from ar_seg_jax.epochs import Cadence, Epochs, Time
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Method
from ar_seg_jax.training import loop, optimizer
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.outputs import Outputs
from ar_seg_jax.training.step import Watch
from ar_seg_jax.training.stopping import Interrupted, Stop
from configs import common
from tests.support import feeds

pytestmark = pytest.mark.usefixtures('compiled_once')

STEPS = 5
EACH_EPOCH, EACH_THREE_STEPS, ONCE = Cadence(), Cadence(3, 'steps'), Cadence(0)

_calls = []  # step, epoch, and the numbers of the batches of each refresh that came to its end


@dataclasses.dataclass(frozen=True)
class Toy(Method):
    """Regression by two layers on what the last refresh found in the batches of its epoch; it also draws a new head."""

    title = 'toy'
    loss_in_words = 'squared error'
    num_clusters = 0

    refresh_when: Cadence | None = None
    restarted: tuple[str, ...] = ()

    def init(self, key, image):
        one, two = jax.random.split(key)
        params = {'body': jax.random.normal(one, (image.shape[-1], 2)), 'head': jax.random.normal(two, (2,))}
        return params, {'target': jnp.zeros(()), 'mean': jnp.zeros(2), 'epoch': jnp.zeros(()), 'readout': jnp.zeros(())}

    def forward(self, params, extra, batch, *, key, time, part=0):
        colours = batch['image'].astype(jnp.float32).mean((1, 2)) / 255
        keys = parallel.keys(jax.random.fold_in(key, part), len(colours))
        noise = 0.1 * jax.vmap(lambda key: jax.random.normal(key, colours.shape[1:]))(keys)
        hidden = jnp.tanh((colours + noise) @ params['body'])
        outputs = {'found': hidden @ params['head'], 'wanted': jnp.broadcast_to(extra['target'], len(colours))}
        mean = 0.9 * extra['mean'] + 0.1 * parallel.total(hidden.sum(0)) / parallel.total(len(hidden))
        return outputs, {**extra, 'mean': mean, 'epoch': time.epoch.astype(jnp.float32)}

    def objective(self, outputs, batch, *, time):
        loss = jnp.mean((outputs['found'] - outputs['wanted']) ** 2)
        return loss, {'at_step': time.step.astype(jnp.float32), 'at_epoch': time.epoch.astype(jnp.float32)}

    def refresh(self, params, extra, batches, *, key, time):
        read = list(batches)
        target = sum(batch['image'].astype(jnp.float32).mean() for batch in read) / 255
        _calls.append((int(time.step), int(time.epoch), [int(batch['label'][0, 0, 0]) for batch in read]))
        return {**params, 'head': jax.random.normal(key, (2,))}, {**extra, 'target': target}

    def readout(self, params, extra, batches, *, key):
        return {**extra, 'readout': params['head'].sum() + sum(batch['image'].mean() for batch in batches)}

    def predict(self, params, extra, image):
        return {}


@dataclasses.dataclass(frozen=True)
class Settling(Toy):
    """Its refresh moves batch statistics."""

    def init(self, key, image):
        params, extra = super().init(key, image)
        return params, {**extra, 'batch_stats': {'body': jnp.zeros(2), 'head': jnp.zeros(2)}}

    def refresh(self, params, extra, batches, *, key, time):
        return params, {**extra, 'batch_stats': jax.tree.map(lambda leaf: leaf + 1, extra['batch_stats'])}


def _batch(index):
    """Images that follow from the number of the batch, and are labelled with it."""
    image = np.random.default_rng(index).integers(0, 256, (8, 2, 2, 3), dtype=np.uint8)
    return {'image': image, 'label': np.full((8, 2, 2), index, np.uint8)}


def _task(method, devices=1, images=16, frozen=(), **options):
    adam = optimizer.optimizer(**common.adam() | {'learning_rate': 0.1}, steps=STEPS, frozen=frozen, restarted=method.restarted)
    feed = feeds.Numbered(_batch, feeds.mesh_of(devices), images, **options)
    return feeds.task(method, adam, feed)


class StopsAt(Stop):
    """Asks for the end when it is asked for the `number`-th time, from 0."""

    def __init__(self, mesh, number=10**9):
        super().__init__(mesh)
        self._number = number
        self.asked = 0

    def agreed(self):
        self.asked += 1
        return self.asked > self._number


def _run(directory, task, stop=None, steps=STEPS, evaluate_every=0, checkpoint_every=0):
    return loop.run(
        task,
        Checkpoints(directory / 'checkpoints', writable=True),
        schedule=loop.Schedule(steps, 0, evaluate_every, checkpoint_every),
        evaluate=lambda state, guard: Evaluation({}),
        watch=Watch(1, 0.1),
        stop=stop or StopsAt(task.mesh),
        outputs=Outputs(directory),
    )


def _arrays(state):
    return [np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for leaf in jax.tree.leaves(state)]


def _is_key(leaf):
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _assert_same(found, expected):
    for one, two in zip(_arrays(found), _arrays(expected), strict=True):
        np.testing.assert_array_equal(one, two)


def _stepped(task, state):
    """The state after the next step, with its metrics; the one before it is kept."""
    batch = sharding.place(next(task.data.training(int(state.step))), sharding.split_batch(task.mesh, task.micro_batches))
    with jax.set_mesh(task.mesh):
        state, metrics, _ = task.compiled_step()(jax.tree.map(jnp.copy, state), batch)
    return state, metrics


def test_statistics_of_frozen_groups_stay_in_a_refresh():
    task = _task(Settling(EACH_EPOCH), frozen=('body',))
    found = task.refreshed(task.initial_state(), iter).extra['batch_stats']
    np.testing.assert_array_equal(found['body'], 0)
    np.testing.assert_array_equal(found['head'], 1)


@pytest.mark.parametrize(('images', 'batch_size'), [(100, 60), (60, 60), (119, 60), (18, 4), (7, 1), (1000, 37)])
def test_an_epoch_is_the_pass_of_the_first_image_of_a_step(images, batch_size):
    epochs, steps = Epochs(images, batch_size), range(200)
    passes = np.arange(200 * batch_size).reshape(200, batch_size) // images  # of each image of each step, one after another
    assert [epochs.of(step) for step in steps] == passes[:, 0].tolist()
    for epoch in range(int(passes[-1, 0])):
        assert epochs.first_step(epoch) == passes[:, 0].tolist().index(epoch)
        assert list(epochs.batches(epoch)) == np.flatnonzero((passes == epoch).any(1)).tolist()


def test_the_epoch_of_a_step_is_known_where_its_images_are_more_than_32_bits_count():
    epochs, step = Epochs(1_281_167, 4096), jnp.array([0, 312, 313, 10**6, 2**31 - 1], jnp.int32)
    found = jax.jit(jax.vmap(lambda step: Time.at(step, epochs)))(step)
    assert found.epoch.tolist() == [int(step) * 4096 // 1_281_167 for step in step] and found.epoch.dtype == jnp.int32
    assert found.epoch.tolist()[:3] == [0, 0, 1]


@pytest.mark.parametrize(
    ('cadence', 'images', 'due'),
    [
        (Cadence(), 24, [0, 3, 6, 9]),
        (Cadence(1, 'epochs'), 8, list(range(12))),
        (Cadence(2, 'epochs'), 24, [0, 6]),
        (Cadence(1, 'epochs'), 20, [0, 3, 5, 8, 10]),
        (Cadence(2, 'epochs'), 20, [0, 5, 10]),
        (Cadence(4, 'steps'), 24, [0, 4, 8]),
        (Cadence(1, 'steps'), 24, list(range(12))),
        (Cadence(0, 'steps'), 24, [0]),
        (Cadence(0, 'epochs'), 24, [0]),
        (Cadence(0, 'steps', 7), 24, [7]),
        (Cadence(3, 'steps', 4), 24, [4, 7, 10]),
        (Cadence(0, 'epochs', 2), 20, [5]),
        (Cadence(2, 'epochs', 1), 20, [3, 8]),
    ],
)
def test_a_cadence_is_due_before_its_first_step_or_epoch_and_each_so_many_after_it(cadence, images, due):
    assert [step for step in range(12) if cadence.due(step, Epochs(images, 8))] == due


def test_a_part_of_an_epoch_has_so_many_images():
    assert [Epochs(100, 60).first_step(epoch) for epoch in (0.5, 0.6, 0.61, 2.5)] == [1, 1, 2, 5]
    assert 1.1 * 100 > 110 and Epochs(100, 1).first_step(1.1) == 110


def test_every_epoch_of_a_training_begins_once():
    epochs = Epochs(100, 60)
    assert epochs.first_step(10) == 17
    assert [step for step in range(17) if Cadence().due(step, epochs)] == [0, 2, 4, 5, 7, 9, 10, 12, 14, 15]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'unit': 'epoch'}, r"^the unit of a cadence is 'steps' or 'epochs', found 'epoch'$"),
        ({'every': -1}, r"^'every' of a cadence is a whole number of epochs, at least 0; found -1$"),
        ({'every': 0.5}, r"^'every' of a cadence is a whole number of epochs, at least 0; found 0\.5$"),
        ({'every': True}, r"^'every' of a cadence is a whole number of epochs, at least 0; found True$"),
        ({'unit': 'steps', 'first': -3}, r"^'first' of a cadence is a whole number of steps, at least 0; found -3$"),
    ],
)
def test_a_wrong_cadence_is_refused(options, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, 'jaxtyping_disable', True)  # as for users: tests check the types of arguments first
    with pytest.raises(UserError, match=message):
        Cadence(**options)


@pytest.mark.parametrize(
    ('cadence', 'images', 'expected'),
    [
        (EACH_EPOCH, 16, [(0, 0, [0, 1]), (2, 1, [2, 3]), (4, 2, [4, 5])]),
        (EACH_EPOCH, 12, [(0, 0, [0, 1]), (2, 1, [1, 2]), (3, 2, [3, 4])]),
        (EACH_THREE_STEPS, 16, [(0, 0, [0, 1]), (3, 1, [2, 3])]),
        (ONCE, 16, [(0, 0, [0, 1])]),
        (Cadence(0, 'steps', 3), 16, [(3, 1, [2, 3])]),
        (None, 16, []),
    ],
)
def test_a_refresh_is_called_when_it_is_due_with_all_batches_of_the_pass(tmp_path, cadence, images, expected):
    _calls.clear()
    state = _run(tmp_path, _task(Toy(cadence), images=images))
    assert _calls == expected and int(state.step) == STEPS


@pytest.mark.parametrize('devices', [1, 8])
def test_what_a_refresh_gives_is_what_the_next_step_begins_with(devices):
    task = _task(Toy(EACH_EPOCH), devices)
    state = task.initial_state()
    refreshed = task.refreshed(state, iter)
    expected = sum(np.float32(_batch(index)['image']).mean() for index in (0, 1)) / 255
    np.testing.assert_allclose(refreshed.extra['target'], expected, rtol=1e-5)
    _assert_same(refreshed.replace(params=state.params, extra=state.extra), state)
    np.testing.assert_array_equal(refreshed.params['body'], state.params['body'])
    assert not np.isclose(refreshed.params['head'], state.params['head']).any()
    after, _ = _stepped(task, refreshed)
    np.testing.assert_array_equal(after.extra['target'], refreshed.extra['target'])
    # Adam's first step is the rate, up or down, from the head that was drawn.
    np.testing.assert_allclose(abs(after.params['head'] - refreshed.params['head']), 0.1, rtol=1e-3)
    later = task.refreshed(after.replace(step=after.step + 1), iter)
    assert not np.isclose(later.params['head'], refreshed.params['head']).any()  # drawn from another key


@pytest.mark.parametrize(
    ('cadence', 'restarted'),
    [(EACH_EPOCH, ('head',)), (EACH_THREE_STEPS, ()), (EACH_THREE_STEPS, ('body', 'head')), (ONCE, ('head',))],
)
def test_a_run_that_was_stopped_anywhere_ends_with_the_same_bits(tmp_path, cadence, restarted):
    task = _task(Toy(cadence, restarted))
    counting = StopsAt(task.mesh)
    expected = _run(tmp_path / 'whole', task, counting)
    refreshes = sum(cadence.due(step, task.data.epochs) for step in range(STEPS))
    assert counting.asked == STEPS + 2 * refreshes  # before each step, and before each batch of a refresh
    for number in range(counting.asked):
        directory = tmp_path / str(number)
        stopped = _run(directory, task, StopsAt(task.mesh, number))
        assert int(stopped.step) < STEPS
        _assert_same(_run(directory, task), expected)


def test_a_run_that_is_stopped_before_every_step_ends_with_the_same_bits(tmp_path):
    task = _task(Toy(EACH_EPOCH, ('head',)))
    for steps in range(1, STEPS + 1):
        state = _run(tmp_path / 'often', task, steps=steps)
    _assert_same(state, _run(tmp_path / 'whole', task))


def test_what_was_begun_anew_is_the_optimiser_of_that_group_only():
    task = _task(Toy(EACH_EPOCH, ('head',)))
    state = task.initial_state()
    for _ in range(2):
        state, _ = _stepped(task, state)
    refreshed = task.refreshed(state, iter)
    beginning, _ = _stepped(task, refreshed)
    going_on, _ = _stepped(task, refreshed.replace(opt_state=state.opt_state))  # the same program, with the old moments
    np.testing.assert_array_equal(beginning.params['body'], going_on.params['body'])
    moved, otherwise = (abs(after.params['head'] - refreshed.params['head']) for after in (beginning, going_on))
    np.testing.assert_allclose(moved, 0.1, rtol=1e-3)  # as Adam's first step, of any gradient
    assert not np.isclose(otherwise, 0.1, rtol=1e-3).any()


@dataclasses.dataclass(frozen=True)
class Taught(Toy):
    """Keeps the parameters of the last refresh as a teacher, which wants what it predicts; as arrays, it keeps the very same."""

    def init(self, key, image):
        params, extra = super().init(key, image)
        return params, {**extra, 'teacher': jax.tree.map(jnp.zeros_like, params)}

    def forward(self, params, extra, batch, *, key, time, part=0):
        outputs, extra = super().forward(params, extra, batch, key=key, time=time, part=part)
        taught, _ = super().forward(extra['teacher'], extra, batch, key=key, time=time, part=part)
        return {**outputs, 'wanted': taught['found']}, extra

    def refresh(self, params, extra, batches, *, key, time):
        extra = {**extra, 'teacher': params, 'target': np.float32(len(list(batches)))}
        return {**params, 'head': jax.random.normal(key, (2,))}, extra


@pytest.mark.parametrize('devices', [1, 8])
def test_a_refresh_may_keep_the_parameters_and_the_step_is_compiled_once(devices, caplog):
    task = _task(Taught(EACH_EPOCH, ('head',)), devices)
    state, train_step, batches = task.initial_state(), task.compiled_step(), task.data.training(0)
    for step in range(5):
        before = jax.tree.map(np.asarray, state.params)
        if task.refreshes(step):
            state = task.refreshed(state, iter)
            for one, two in zip(jax.tree.leaves(state.extra['teacher']), jax.tree.leaves(before), strict=True):
                np.testing.assert_array_equal(one, two)
        with jax.set_mesh(task.mesh), jax.log_compiles():
            state, *_ = train_step(state, sharding.place(next(batches), sharding.split_batch(task.mesh)))
        if not task.refreshes(step):
            assert not np.array_equal(state.extra['teacher']['body'], state.params['body'])
    assert sum(record.message.startswith('Compiling jit(train_step)') for record in caplog.records) == 1


@dataclasses.dataclass(frozen=True)
class Varied(Toy):
    """With a state of all kinds, of which steps and refreshes draw or count another part."""

    def init(self, key, image):
        params, extra = super().init(key, image)
        kinds = {'key': jax.random.key(7), 'count': jnp.int32(0), 'odd': jnp.array(False), 'labels': jnp.zeros(3, jnp.uint8)}
        return params, {**extra, **kinds}

    def forward(self, params, extra, batch, *, key, time, part=0):
        outputs, extra = super().forward(params, extra, batch, key=key, time=time, part=part)
        outputs['kept'] = jax.random.bernoulli(extra['key'], 0.5, outputs['found'].shape)
        extra |= {'key': jax.random.fold_in(extra['key'], 1), 'count': extra['count'] + 1, 'odd': ~extra['odd']}
        return outputs, extra

    def objective(self, outputs, batch, *, time):
        return super().objective({**outputs, 'found': jnp.where(outputs['kept'], outputs['found'], 0)}, batch, time=time)

    def refresh(self, params, extra, batches, *, key, time):
        params, extra = super().refresh(params, extra, batches, key=key, time=time)
        labels = np.full(3, int(time.step), np.uint8)
        return params, {**extra, 'key': jax.random.fold_in(extra['key'], 9), 'count': 100 * int(time.step), 'labels': labels}


@pytest.mark.parametrize('micro_batches', [1, 2])
def test_a_state_of_all_kinds_is_trained_refreshed_saved_and_restored(tmp_path, micro_batches):
    task = _task(Varied(EACH_EPOCH), micro_batches=micro_batches)
    for steps in (3, STEPS):
        state = _run(tmp_path / 'stopped', task, steps=steps)
    _assert_same(state, _run(tmp_path / 'whole', task))
    assert int(state.skipped) == 0
    key = jax.random.key(7)
    for number in (9, 1, 1, 9, 1, 1, 9, 1):  # a refresh and two steps, twice, a refresh and a step
        key = jax.random.fold_in(key, number)
    assert state.extra['key'] == key
    assert (int(state.extra['count']), bool(state.extra['odd']), state.extra['labels'].tolist()) == (401, True, [4, 4, 4])


@dataclasses.dataclass(frozen=True)
class Changed(Toy):
    """Gives what `change` makes of the parameters and the state."""

    change: Callable = lambda params, extra: (params, extra)

    def refresh(self, params, extra, batches, *, key, time):
        return self.change(params, extra)

    def readout(self, params, extra, batches, *, key):
        return self.change(params, extra)[1]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda p, e: (p, {**e, 'mean': jnp.zeros(3)}), r'gave extra/mean of shape \(3,\) and type float32; expected \(2,\) and'),
        (
            lambda p, e: (p, {**e, 'mean': jnp.zeros(2, int)}),
            r'gave extra/mean of shape \(2,\) and type int32; expected .* float32',
        ),
        (lambda p, e: (p, {**e, 'labels': {'of': jnp.zeros(3)}}), r'gave extra/labels/of, which it was not given'),
        (lambda p, e: (p, {name: e[name] for name in ('mean', 'epoch')}), r'gave no extra/readout, extra/target; it must'),
        (lambda p, e: (p, FrozenDict(e)), r'gave other containers: .*FrozenDict'),
    ],
)
def test_a_state_of_another_form_is_refused_with_the_name_of_the_array(change, message):
    task = _task(Changed(EACH_EPOCH, change=change))
    state = task.initial_state()
    with pytest.raises(ValueError, match=f'^Changed.refresh {message}'):
        task.refreshed(state, iter)
    with pytest.raises(ValueError, match=f'^Changed.readout {message}'):
        task.read_out(state)


def test_a_refresh_and_a_readout_know_the_devices():
    meshes = []
    task = _task(Changed(EACH_EPOCH, change=lambda p, e: meshes.append(jax.sharding.get_abstract_mesh()) or (p, e)), devices=8)
    task.read_out(task.refreshed(task.initial_state(), iter))
    assert [mesh.shape for mesh in meshes] == [{'data': 8}] * 2


def test_the_parameters_of_a_refresh_are_looked_at_too():
    task = _task(Changed(EACH_EPOCH, change=lambda p, e: ({**p, 'head': jnp.zeros(3)}, e)))
    with pytest.raises(ValueError, match=r'^Changed\.refresh gave params/head of shape \(3,\) and type float32; expected \(2,\)'):
        task.refreshed(task.initial_state(), iter)


def test_a_request_to_stop_within_a_refresh_leaves_the_state_before_it(tmp_path):
    task = _task(Toy(EACH_EPOCH, ('head',)))
    before = _run(tmp_path / 'before', task, steps=2)
    _calls.clear()
    with pytest.raises(Interrupted):
        task.refreshed(before, StopsAt(task.mesh, 1).guard)
    assert not _calls
    # Asked before the steps 0, 1 and 2, and before the batches of the refreshes at 0 and 2: the last time is the second batch.
    stopped = _run(tmp_path / 'within', task, StopsAt(task.mesh, 6))
    assert [step for step, _, _ in _calls] == [0]
    _assert_same(stopped, before)
    saved = Checkpoints(tmp_path / 'within' / 'checkpoints').restore(task.shapes())
    _assert_same(saved, before)


@pytest.mark.parametrize('micro_batches', [1, 2])
def test_the_time_of_a_step_counts_steps_and_epochs(micro_batches):
    task = _task(Toy(), images=20, micro_batches=micro_batches)
    state, train_step = task.initial_state(), task.compiled_step()
    batches = task.data.training(0)
    for step in range(8):
        batch = sharding.place(next(batches), sharding.split_batch(task.mesh, micro_batches))
        with jax.set_mesh(task.mesh):
            state, metrics, _ = train_step(state, batch)
        assert (float(metrics['at_step']), float(metrics['at_epoch'])) == (step, [0, 0, 0, 1, 1, 2, 2, 2][step])
        assert float(state.extra['epoch']) == metrics['at_epoch']


@dataclasses.dataclass(frozen=True)
class Normalised(Toy):
    """With statistics of the layers, which lie beside their parameters."""

    def init(self, key, image):
        params, extra = super().init(key, image)
        return params, {**extra, 'batch_stats': {'body': {'mean': jnp.zeros(2)}, 'head': {'mean': jnp.zeros(())}}}

    def forward(self, params, extra, batch, *, key, time, part=0):
        outputs, extra = super().forward(params, extra, batch, key=key, time=time, part=part)
        found = outputs['found']
        statistics = {'body': {'mean': extra['mean']}, 'head': {'mean': parallel.total(found.sum()) / parallel.total(len(found))}}
        return outputs, {**extra, 'batch_stats': statistics}


@pytest.mark.parametrize('micro_batches', [1, 2])
def test_a_frozen_group_stays_as_it_is_with_its_statistics(micro_batches):
    task = _task(Normalised(), frozen=('body',), micro_batches=micro_batches)
    before = task.initial_state()
    after, _ = _stepped(task, before)
    for one, two in ((before.params, after.params), (before.extra['batch_stats'], after.extra['batch_stats'])):
        jax.tree.map(np.testing.assert_array_equal, one['body'], two['body'])
        assert not any(jax.tree.leaves(jax.tree.map(np.array_equal, one['head'], two['head'])))
    assert after.extra['mean'].all()  # no statistic of a group


def test_the_first_state_follows_from_the_seed_on_any_number_of_devices_and_is_as_described():
    one, eight = (_task(Toy(), devices) for devices in (1, 8))
    _assert_same(one.initial_state(), eight.initial_state())
    other = dataclasses.replace(one, seed=1).initial_state()
    assert not np.isclose(other.params['body'], one.initial_state().params['body']).any()
    for task in (one, eight):
        for leaf, shape in zip(jax.tree.leaves(task.initial_state()), jax.tree.leaves(task.shapes()), strict=True):
            assert (leaf.shape, leaf.dtype) == (shape.shape, shape.dtype)
            assert leaf.sharding.is_equivalent_to(shape.sharding, leaf.ndim) and leaf.is_fully_replicated


@dataclasses.dataclass(frozen=True)
class Counting(Toy):
    """Counts its readouts."""

    def readout(self, params, extra, batches, *, key):
        return {**extra, 'readout': extra['readout'] + 1}


@pytest.mark.parametrize('periods', [(0, 0), (1, 2), (2, 1), (0, 3)])
@pytest.mark.parametrize('asked', [0, 3])
def test_a_state_is_read_out_once_before_it_is_saved(tmp_path, asked, periods):
    task = _task(Counting())
    periods = dict(zip(('evaluate_every', 'checkpoint_every'), periods, strict=True))
    stopped = _run(tmp_path, task, StopsAt(task.mesh, asked), **periods)
    due = {asked} | {step for step in range(1, asked + 1) for period in periods.values() if period and step % period == 0}
    assert int(stopped.step) == asked and float(stopped.extra['readout']) == len(due)
    _assert_same(Checkpoints(tmp_path / 'checkpoints').restore(task.shapes()), stopped)
    _assert_same(_run(tmp_path, task, StopsAt(task.mesh, 0), **periods), stopped)  # it has been read out already


def test_readouts_see_the_sample_and_change_nothing_else():
    task = _task(Toy())
    state = task.initial_state()
    read = task.read_out(state)
    expected = float(state.params['head'].sum()) + sum(float(_batch(index)['image'].mean()) for index in (0, 1))
    assert float(read.extra['readout']) == pytest.approx(expected, rel=1e-5)
    _assert_same(read.replace(extra={**read.extra, 'readout': state.extra['readout']}), state)
