"""Trainings whose phases train different groups, with optimisers that take turns; and that a stop anywhere changes nothing."""

import dataclasses
import itertools
import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ar_seg_jax import build, sharding
from ar_seg_jax.epochs import Phase, Time
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Method
from ar_seg_jax.training import gradients as losses
from ar_seg_jax.training import loop, optimizer
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.outputs import Outputs
from ar_seg_jax.training.step import Watch
from ar_seg_jax.training.stopping import Stop
from configs import common
from tests.support import feeds

pytestmark = pytest.mark.usefixtures('compiled_once')

STEPS = 6
PHASES = (Phase('one', 0, ('head',)), Phase('two', 2, ('body',)), Phase('three', 4))
RATE = 0.25  # of the second half of the training; a quarter of it in the last step


@dataclasses.dataclass(frozen=True)
class Toy(Method):
    """Regression by two layers, and in the first phase by one."""

    title = 'toy'
    loss_in_words = 'squared error'
    num_clusters = 0

    phases: tuple[Phase, ...] = PHASES
    stage: str = 'three'

    def during(self, phase):
        return dataclasses.replace(self, stage=phase.name)

    def init(self, key, image):
        one, two = jax.random.split(key)
        return {'body': jax.random.normal(one, (3, 2)), 'head': jax.random.normal(two, (2,))}, {'stage': jnp.zeros(())}

    def forward(self, params, extra, batch, *, key, time, part=0):
        colours = batch['image'].astype(jnp.float32).mean((1, 2)) / 255
        hidden = jnp.tanh(colours @ params['body'])
        found = hidden.sum(1) if self.stage == 'one' else hidden @ params['head']
        return found, {'stage': jnp.float32(len(self.stage))}

    def objective(self, outputs, batch, *, time):
        return jnp.mean((outputs - 0.5) ** 2), {}

    def predict(self, params, extra, image):
        return {}


def _batch(index):
    image = np.random.default_rng(index).integers(0, 256, (8, 2, 2, 3), dtype=np.uint8)
    return {'image': image, 'label': np.zeros((8, 2, 2), np.uint8)}


def _config(**changes):
    second = {'learning_rate': RATE, 'schedule': {'name': 'drop', 'last': 1, 'factor': 0.25}}
    first = {'learning_rate': 0.1, 'schedule': {'name': 'linear', 'final': 0.0}, 'weight_decay': 0.3}
    config = {'optimizer': common.adam() | second, 'phase_optimizers': {'one': common.adamw() | first}, 'frozen': ()}
    return config | changes


def _task(**changes):
    method = Toy()
    optimizer = build.transformation(_config(**changes), method, STEPS)
    return feeds.task(method, optimizer, feeds.Numbered(_batch, feeds.mesh_of(1)))


@pytest.fixture(scope='module')
def task():
    return _task()


class StopsAt(Stop):
    """Asks for the end when it is asked for the `number`-th time, from 0."""

    def __init__(self, mesh, number):
        super().__init__(mesh)
        self._asked = itertools.count(-number)

    def agreed(self):
        return next(self._asked) >= 0


def _run(directory, task, stop_at=STEPS):
    return loop.run(
        task,
        Checkpoints(directory / 'checkpoints', writable=True),
        schedule=loop.Schedule(STEPS, 0, 0, 0),
        evaluate=lambda state, guard: Evaluation({}),
        watch=Watch(1, 0.1),
        stop=StopsAt(task.mesh, stop_at),
        outputs=Outputs(directory),
    )


def _assert_same(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def _trained(task):
    """States before each step, as the step begins, and the last one."""
    state, states = task.initial_state(), []
    for step in range(STEPS):
        state = task.in_new_phase(state) if task.begins_phase(step) else state
        states.append(state)
        batch = sharding.place(_batch(step), sharding.split_batch(task.mesh))
        with jax.set_mesh(task.mesh):
            state, _, _ = task.compiled_step(step)(jax.tree.map(jnp.copy, state), batch)
    return [*states, state]


def test_a_phase_lasts_until_the_next_one_begins():
    assert [Toy().phase(step).name for step in range(6)] == ['one', 'one', 'two', 'two', 'three', 'three']
    none_of_two = Toy((Phase('one', 0), Phase('two', 3), Phase('three', 3)))
    assert [none_of_two.phase(step).name for step in range(5)] == ['one', 'one', 'one', 'three', 'three']
    assert Toy(()).phase(7) is None


def test_groups_move_in_their_phases_alone(task):
    states = _trained(task)
    for step, (before, after) in enumerate(itertools.pairwise(states)):
        phase = task.method.phase(step)
        for group in ('body', 'head'):
            same = np.array_equal(before.params[group], after.params[group])
            assert same == (group in phase.frozen)
        assert after.extra['stage'] == len(phase.name)  # each phase computes what it is for


def test_what_a_phase_freezes_stays_in_spite_of_decay_and_moments():
    """Without an optimiser of its own, as its moments are those of the phase before."""
    decaying = common.adamw() | {'learning_rate': 0.1, 'weight_decay': 0.5}
    states = _trained(_task(optimizer=decaying, phase_optimizers={}))
    np.testing.assert_array_equal(states[0].params['head'], states[2].params['head'])
    np.testing.assert_array_equal(states[2].params['body'], states[4].params['body'])


def test_optimisers_take_turns_and_schedules_count_the_steps_of_their_phases(task):
    states = _trained(task)
    method, batches = task.method, [_batch(step) for step in range(STEPS)]

    def gradients(step):
        during, time, key = method.during(method.phase(step)), Time(jnp.int32(step), jnp.int32(0)), jax.random.key(0)
        loss = lambda params: losses.loss(during, params, {}, batches[step], key=key, time=time)[0]  # noqa: E731
        return jax.grad(loss)(states[step].params)

    # The first phase: AdamW of the body alone, whose rate falls from 0.1 to 0 in its two steps.
    adamw = optax.adamw(lambda count: 0.1 * (1 - count / 2), eps=1e-12, weight_decay=0.3)
    body = states[0].params['body']
    state = adamw.init(body)
    for step in (0, 1):
        update, state = adamw.update(gradients(step)['body'], state, body)
        body = body + update
        np.testing.assert_allclose(states[step + 1].params['body'], body, rtol=1e-5)
    # The second: Adam of the head, and new moments, not a new schedule, in the third.
    for first, last in ((2, 4), (4, 6)):
        params, adam = states[first].params, optax.adam(1.0, eps=1e-12)
        state = adam.init(params)
        for step in range(first, last):
            update, state = adam.update(gradients(step), state, params)
            rate = 0.25 * RATE if step == STEPS - 1 else RATE
            params = jax.tree.map(lambda leaf, move: leaf + rate * move, params, update)  # noqa: B023
            params = {**params, 'body': states[first].params['body']} if first == 2 else params
            for group in ('body', 'head'):
                np.testing.assert_allclose(states[step + 1].params[group], params[group], rtol=1e-4)


def test_moments_are_zero_where_a_phase_begins(task):
    states = _trained(task)
    for begin in (2, 4):
        moments = [leaf for leaf in jax.tree.leaves(states[begin].opt_state) if leaf.ndim]
        assert moments and not any(leaf.any() for leaf in moments)
        assert any(leaf.any() for leaf in jax.tree.leaves(states[begin + 1].opt_state) if leaf.ndim)
    # What is frozen in all phases of an optimiser has none.
    shapes = sorted(leaf.shape for leaf in jax.tree.leaves(states[0].opt_state['one']) if leaf.ndim)
    assert shapes == [(3, 2), (3, 2)]


def test_a_run_that_was_stopped_anywhere_ends_with_the_same_bits(task, tmp_path):
    expected = _run(tmp_path / 'whole', task)
    key = lambda state: state.replace(key=jax.random.key_data(state.key))  # noqa: E731
    _assert_same(key(expected), key(_trained(task)[-1]))
    for number in range(STEPS):
        assert int(_run(tmp_path / str(number), task, number).step) == number
        _assert_same(key(_run(tmp_path / str(number), _task() if number == 4 else task)), key(expected))


@pytest.mark.parametrize(
    ('phases', 'turns', 'message'),
    [
        (PHASES, {'onee': common.adam()}, r"^config\.phase_optimizers: toy has the phases one, two, three, found 'onee'$"),
        ((), {'one': common.adam()}, r"^config\.phase_optimizers: toy has no phases, found 'one'$"),
        (PHASES, {'two': {'name': 'adam'}}, r"^config\.phase_optimizers\.two: lacks 'learning_rate'$"),
        (PHASES, {'two': 'adam'}, r"^config\.phase_optimizers\.two: expected keys with values, found 'adam'$"),
        (
            PHASES,
            {'two': common.adam() | {'rates': {'body': -1.0}}},
            r'^config\.phase_optimizers\.two\.rates\.body is a factor of at least 0, found -1\.0$',
        ),
    ],
)
def test_wrong_optimisers_of_phases_are_named(phases, turns, message):
    with pytest.raises(UserError, match=message):
        build.transformation(_config(phase_optimizers=turns), Toy(phases), STEPS)


def test_a_phase_without_steps_has_no_state_of_its_optimiser():
    none_of_one = Toy((Phase('one', 0, ('head',)), Phase('two', 0)))
    params = {'body': jnp.ones((3, 2)), 'head': jnp.ones(2)}
    found, expected = (build.transformation(config, none_of_one, STEPS) for config in (_config(), _config(phase_optimizers={})))
    states = [jax.tree.structure(one.during(none_of_one.phase(0)).tx.init(params)) for one in (found, expected)]
    assert states[0] == states[1]


def test_a_config_of_before_there_were_phases_has_one_optimiser():
    config = _config()
    del config['phase_optimizers'], config['optimizer']['warmup_power']
    found = build.transformation(config, Toy(()), STEPS)
    expected = optimizer.optimizer(**_config()['optimizer'], steps=STEPS)
    params = {'head': jnp.ones(3)}
    assert jax.tree.structure(found.tx.init(params)) == jax.tree.structure(expected.tx.init(params))


def test_the_program_of_every_phase_is_announced_and_no_step_compiles_again(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger='ar_seg_jax'):
        _run(tmp_path, _task())
    announced, done = (
        [message for message in caplog.messages if message.startswith(word)] for word in ('Compiling', 'Compiled in')
    )
    assert announced == [f'Compiling the training step of phase {phase.name}' for phase in PHASES] and len(done) == 3
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert json.loads((tmp_path / 'compilation.json').read_text()).keys() == {f'cpu: {phase.name}' for phase in PHASES}
