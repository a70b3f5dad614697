"""The optimiser of a config against optax, and against its formulas written by hand in NumPy."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ar_seg_jax.errors import UserError
from ar_seg_jax.training import optimizer
from configs import common

RNG = np.random.default_rng(0)
SHAPES = {'stem': {'kernel': (3, 2), 'bias': (2,)}, 'network': {'stem': {'kernel': (5,)}, 'head': (4, 2)}, 'stem2': (7,)}


def _random():
    """Arrays of all shapes, each of its own."""
    return jax.tree.map(
        lambda shape: jnp.asarray(RNG.normal(size=shape), jnp.float32), SHAPES, is_leaf=lambda x: type(x) is tuple
    )


PARAMS = _random()
GRADIENTS = [_random() for _ in range(6)]
PLAIN = common.sgd() | {'momentum': 0.0}  # whose update is the gradient times the rate


def _tx(options, *, steps=10, frozen=(), restarted=(), **changes):
    return _optimizer(options, steps=steps, frozen=frozen, restarted=restarted, **changes).tx


def _optimizer(options, *, steps=10, frozen=(), restarted=(), **changes):
    return optimizer.optimizer(**{**options, **changes}, steps=steps, frozen=frozen, restarted=restarted)


def _go_on(tx, params, state, gradients):
    """Parameters after each of these gradients, and the last state."""
    passed = []
    for gradient in gradients:
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        passed.append(params)
    return passed, state


def _trained(tx, gradients=GRADIENTS):
    return _go_on(tx, PARAMS, tx.init(PARAMS), gradients)


def _assert_same(found, expected):
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, two)


def test_adam_is_that_of_optax_bit_for_bit():
    found, _ = _trained(_tx(common.adam(), learning_rate=3e-3, b1=0.8, b2=0.95, eps=1e-6))
    expected, _ = _trained(optax.adam(3e-3, b1=0.8, b2=0.95, eps=1e-6))
    _assert_same(found, expected)


def _by_hand(name, options, gradients):
    """The parameters in NumPy and double precision, by the papers' formulas."""
    lr, decay = options['learning_rate'], options['weight_decay']

    def follow(p, *gs):
        p, m, v = np.float64(p), 0.0, 0.0
        for t, g in enumerate(map(np.float64, gs), 1):
            if name == 'sgd':
                m = options['momentum'] * m + g + decay * p
                p = p - lr * (options['momentum'] * m + g + decay * p if options['nesterov'] else m)
                continue
            g = g + decay * p if name == 'adam' else g  # Kingma and Ba, with L2 in the loss
            m = options['b1'] * m + (1 - options['b1']) * g
            v = options['b2'] * v + (1 - options['b2']) * g**2
            step = m / (1 - options['b1'] ** t) / (np.sqrt(v / (1 - options['b2'] ** t)) + options['eps'])
            p = p - lr * (step + decay * p) if name == 'adamw' else p - lr * step  # Loshchilov and Hutter: decoupled
        return p

    return jax.tree.map(follow, PARAMS, *gradients)


@pytest.mark.parametrize(
    ('options', 'changes'),
    [
        (common.adam(), {}),
        (common.adam(), {'weight_decay': 0.3}),
        (common.adamw(), {'weight_decay': 0.3, 'b1': 0.7}),
        (common.sgd(), {}),
        (common.sgd(), {'weight_decay': 0.3}),
        (common.sgd(), {'nesterov': True, 'weight_decay': 0.3}),
    ],
)
def test_steps_follow_the_papers_formulas(options, changes):
    options = options | changes | {'learning_rate': 0.1}
    found, _ = _trained(_tx(options))
    expected = _by_hand(options['name'], options, GRADIENTS)
    for one, two in zip(jax.tree.leaves(found[-1]), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)  # single precision: 1 - b2 has four digits


@pytest.mark.parametrize('options', [common.adam(), common.adamw(), common.sgd()])
def test_weights_without_a_gradient_stay_with_their_moments_where_that_is_wanted(options):
    options = options | {'learning_rate': 0.1, 'weight_decay': 0.3}
    unused = jax.tree.map(lambda leaf: jnp.zeros_like(leaf).at[0].set(leaf[0]), GRADIENTS[1])  # all but the first row
    gradients = [GRADIENTS[0], unused, GRADIENTS[2]]
    (first, second, last), state = _trained(_tx(options, keep_unused=True), gradients)
    moving, moved = _trained(_tx(options), gradients)
    rows = zip(*(jax.tree.leaves(tree) for tree in (first, second, moving[1], moving[0])), strict=True)
    for before, after, always, always_before in rows:
        np.testing.assert_array_equal(after[1:], before[1:])
        np.testing.assert_array_equal(after[0], always[0])
        assert (always[1:] != always_before[1:]).all()
    # What the rows have gone through is then a training without the second gradient, but for the count of Adam's corrections.
    without, rested = _trained(_tx(options), [GRADIENTS[0], GRADIENTS[2]])
    moments = [[leaf for leaf in jax.tree.leaves(tree) if leaf.ndim] for tree in (state, rested, moved)]
    for one, two, three in zip(*moments, strict=True):
        if options['name'] == 'adamw':  # decay is no part of its gradient, so that moments do not depend on the weights
            np.testing.assert_allclose(one[1:], two[1:], rtol=1e-6)
        assert (one[1:] != three[1:]).mean() > 0.5
    assert jax.tree.structure(last) == jax.tree.structure(without[-1])


def test_weight_decay_is_in_the_gradient_of_adam_and_outside_of_adamw():
    # One step. Adam's first is the sign of what it gets, which the decay turns round: 0.1 + 0.2 x -2 is negative.
    weight, gradient = jnp.array(-2.0), jnp.array(0.1)
    expected = {'adam': 1.0, 'adamw': -(1 + 0.2 * -2.0)}  # times the rate of 0.01
    for options in (common.adam(), common.adamw()):
        tx = _tx(options, learning_rate=0.01, weight_decay=0.2)
        update, _ = tx.update(gradient, tx.init(weight), weight)
        assert float(update) == pytest.approx(0.01 * expected[options['name']], rel=1e-4)


def _rates(count, **changes):
    """The learning rate of each step: what a gradient of -1 is multiplied by."""
    tx = _tx(PLAIN, **changes)
    _, rates = jax.lax.scan(
        lambda state, _: tx.update(jnp.array(-1.0), state, jnp.array(0.0))[::-1], tx.init(jnp.array(0.0)), None, count
    )
    return np.asarray(rates)


def _constant(step, steps):
    return 1.0


def _linear(step, steps):
    return 1 - 0.9 * min(step / steps, 1)


def _cosine(step, steps):
    return 0.2 + 0.8 * (1 + np.cos(np.pi * min(step / steps, 1))) / 2


def _steps(step, steps):
    return 0.5 ** (step // 7)


def _drop(step, steps):
    return 0.1 if step >= steps - 6 else 1.0


FORMULAS = [
    ({'name': 'constant'}, _constant),
    ({'name': 'linear', 'final': 0.1}, _linear),
    ({'name': 'cosine', 'final': 0.2}, _cosine),
    ({'name': 'steps', 'every': 7, 'factor': 0.5}, _steps),
    ({'name': 'drop', 'last': 6, 'factor': 0.1}, _drop),
]


@pytest.mark.parametrize(('warmup_steps', 'power'), [(0, 1.0), (1, 1.0), (8, 1.0), (8, 2.0)])
@pytest.mark.parametrize(('schedule', 'formula'), FORMULAS)
def test_the_rate_rises_from_0_and_then_follows_its_schedule(schedule, formula, warmup_steps, power):
    steps, rate = 40, 0.03
    warmup = {'warmup_steps': warmup_steps, 'warmup_power': power}
    found = _rates(steps + 5, learning_rate=rate, **warmup, schedule=schedule, steps=steps)
    expected = [
        rate * ((step / warmup_steps) ** power if step < warmup_steps else formula(step - warmup_steps, steps - warmup_steps))
        for step in range(steps + 5)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_the_schedules_that_follow_the_length_are_known():
    def rates(schedule, steps):
        return _rates(20, learning_rate=0.1, schedule=schedule, steps=steps)

    assert [schedule['name'] for schedule, _ in FORMULAS] == list(optimizer.SCHEDULES)
    differing = {schedule['name'] for schedule, _ in FORMULAS if not np.array_equal(rates(schedule, 20), rates(schedule, 30))}
    assert differing == optimizer.FOLLOW_LENGTH


def test_a_warm_up_longer_than_the_training_is_no_division_by_zero():
    found = _rates(4, learning_rate=0.1, warmup_steps=8, schedule={'name': 'cosine', 'final': 0.0}, steps=4)
    np.testing.assert_allclose(found, [0, 0.0125, 0.025, 0.0375], rtol=1e-6)


def test_gradients_are_clipped_by_the_norm_of_all_together():
    params = {'a': jnp.zeros(2), 'b': jnp.zeros(1)}
    tx = _tx(PLAIN, learning_rate=1.0, clip_norm=2.0)

    def update(*gradient):
        found, _ = tx.update({'a': jnp.array(gradient[:2]), 'b': jnp.array(gradient[2:])}, tx.init(params), params)
        return [*found['a'], *found['b']]

    np.testing.assert_allclose(update(2.0, -10.0, 11.0), [-2 * 2 / 15, 2 * 10 / 15, -2 * 11 / 15], rtol=1e-6)  # 15 is its norm
    np.testing.assert_array_equal(update(1.0, -1.0, 1.0), [-1.0, 1.0, -1.0])  # it is below 2


def test_rates_are_factors_on_the_steps_of_groups_and_of_nothing_else():
    def update(**changes):
        tx = _tx(common.adamw(), **changes)
        return tx.update(GRADIENTS[0], tx.init(PARAMS), PARAMS)[0]

    found, plain = update(rates={'network': 0.5, 'network/stem': 0.125, 'stem/bias': 2.0}), update()
    # The most special group decides; 'stem' is neither the beginning of 'stem2' nor the end of 'network/stem'.
    factors = {'stem': {'kernel': 1, 'bias': 2.0}, 'network': {'stem': {'kernel': 0.125}, 'head': 0.5}, 'stem2': 1}
    _assert_same(found, jax.tree.map(lambda update, factor: factor * update, plain, factors))


@pytest.mark.parametrize('options', [common.adam(), common.adamw(), common.sgd() | {'weight_decay': 0.1}])
def test_frozen_groups_stay_as_they_are_and_have_no_moments_while_others_move_as_ever(options):
    plain, _ = _trained(_tx(options))
    found, state = _trained(_tx(options, frozen=('stem', 'network/head')))
    for passed, expected in zip(found, plain, strict=True):
        _assert_same(passed['stem'], PARAMS['stem'])
        _assert_same(passed['network']['head'], PARAMS['network']['head'])
        _assert_same((passed['network']['stem'], passed['stem2']), (expected['network']['stem'], expected['stem2']))
    assert not np.array_equal(found[-1]['stem2'], PARAMS['stem2'])
    shapes = {leaf.shape for leaf in jax.tree.leaves(state)} - {()}
    assert shapes == {(5,), (7,)}


def test_gradients_of_frozen_groups_are_zeros():
    found = optimizer.without_frozen(GRADIENTS[0], ('stem', 'network/head'))
    _assert_same((found['network']['stem'], found['stem2']), (GRADIENTS[0]['network']['stem'], GRADIENTS[0]['stem2']))
    for leaf in jax.tree.leaves((found['stem'], found['network']['head'])):
        np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


def test_batch_statistics_of_frozen_groups_are_those_of_before():
    before = {'batch_stats': PARAMS, 'stem': jnp.zeros(2)}
    after = {'batch_stats': GRADIENTS[0], 'stem': jnp.ones(2)}
    found = optimizer.with_frozen_statistics(after, before, ('stem', 'network/head', 'without/statistics'))
    statistics = found['batch_stats']
    _assert_same((statistics['stem'], statistics['network']['head']), (PARAMS['stem'], PARAMS['network']['head']))
    expected = (GRADIENTS[0]['network']['stem'], GRADIENTS[0]['stem2'], after['stem'])
    _assert_same((statistics['network']['stem'], statistics['stem2'], found['stem']), expected)


@pytest.mark.parametrize(
    'use',
    [
        lambda: _tx(common.adam(), frozen=('stem', 'tsem', 'ste')).init(PARAMS),
        lambda: _tx(common.adam(), restarted=('tsem', 'ste')).init(PARAMS),
        lambda: _trained(_tx(common.adam(), rates={'tsem': 0.1, 'stem': 0.1, 'ste': 0.1})),
        lambda: optimizer.without_frozen(GRADIENTS[0], ('tsem', 'ste')),
    ],
)
def test_a_group_without_parameters_is_named_with_those_there_are(use):
    with pytest.raises(UserError, match=r'^no parameters are called tsem, ste; on top there are network, stem, stem2$'):
        use()


@pytest.mark.parametrize(
    ('frozen', 'restarted', 'one', 'other'),
    [
        (('stem2', 'stem'), ('network/head', 'stem'), 'stem', 'stem'),
        (('network',), ('network/head',), 'network', 'network/head'),
        (('network/stem/kernel',), ('network/stem',), 'network/stem/kernel', 'network/stem'),
    ],
)
def test_what_is_drawn_anew_cannot_be_frozen(frozen, restarted, one, other):
    message = rf"^'{one}' cannot be frozen: the method draws '{other}' anew; take it out of --config\.frozen$"
    with pytest.raises(UserError, match=message):
        _tx(common.adam(), frozen=frozen, restarted=restarted)


def test_groups_beside_each_other_can_be_frozen_and_begin_anew():
    """Also where the name of one is the beginning of the other's."""
    found, _ = _trained(_tx(common.adam(), frozen=('stem',), restarted=('stem2', 'network/stem')))
    plain, _ = _trained(_tx(common.adam()))
    _assert_same(found[-1]['stem'], PARAMS['stem'])
    _assert_same((found[-1]['stem2'], found[-1]['network']), (plain[-1]['stem2'], plain[-1]['network']))


@pytest.mark.parametrize('options', [common.adam(), common.sgd(), common.adam() | {'clip_norm': 0.5, 'rates': {'network': 0.5}}])
def test_a_restarted_group_begins_anew_and_the_others_go_on(options):
    adam = _optimizer(options, restarted=('network/head', 'stem'))
    tx = adam.tx
    plain, _ = _trained(_tx(options))
    before, state = _trained(tx, GRADIENTS[:4])
    _assert_same(before, plain[:4])  # having moments of its own changes nothing
    params = before[-1]
    restarted = optimizer.restart(adam, state, params)
    (after,), _ = _go_on(tx, params, restarted, GRADIENTS[4:5])
    (fresh,), _ = _go_on(tx, params, tx.init(params), GRADIENTS[4:5])
    _assert_same((after['stem'], after['network']['head']), (fresh['stem'], fresh['network']['head']))
    _assert_same((after['stem2'], after['network']['stem']), (plain[4]['stem2'], plain[4]['network']['stem']))
    for name in ('stem', 'stem2'):  # and the difference can be seen
        differs = [not np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (plain[4][name], fresh[name])), strict=True)]
        assert all(differs)
    assert jax.tree.structure(restarted) == jax.tree.structure(state)


def test_the_schedule_of_the_rate_does_not_begin_anew():
    plain = _optimizer(PLAIN, learning_rate=1.0, schedule={'name': 'linear', 'final': 0.0}, steps=10, restarted=('stem',))
    tx = plain.tx
    before, state = _trained(tx, GRADIENTS[:4])
    updates, _ = tx.update(GRADIENTS[4], optimizer.restart(plain, state, before[-1]), before[-1])
    for update, gradient in zip(jax.tree.leaves(updates), jax.tree.leaves(GRADIENTS[4]), strict=True):
        np.testing.assert_allclose(update, -0.6 * gradient, rtol=1e-5)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'learning_rate': 0.0}, r'^optimizer\.learning_rate is above 0, found 0\.0$'),
        ({'clip_norm': -1.0}, r'^optimizer\.clip_norm is at least 0, found -1\.0$'),
        ({'warmup_steps': -1}, r'^optimizer\.warmup_steps is at least 0, found -1$'),
        (
            {'name': 'adan'},
            r"^config\.optimizer\.name: there is no 'adan', the names are adam, adamw, sgd; did you mean 'adam'\?$",
        ),
        (
            {'momentum': 0.9},
            r"^config\.optimizer of 'adam': there is no 'momentum', the names are b1, b2, eps, weight_decay",
        ),
        ({'b1': 'large'}, r"^config\.optimizer\.b1: expected a number, found 'large'$"),
        ({'schedule': {'name': 'cosinus', 'final': 0.0}}, r"^config\.optimizer\.schedule\.name: there is no 'cosinus'"),
        ({'schedule': {'name': 'cosine'}}, r"^config\.optimizer\.schedule of 'cosine' lacks final$"),
        ({'schedule': {'name': 'constant', 'final': 0.0}}, r"^config\.optimizer\.schedule of 'constant': there is no 'final'"),
        ({'schedule': {'name': 'steps', 'every': 0, 'factor': 0.5}}, r'^optimizer\.schedule\.every is at least 1, found 0$'),
        ({'schedule': {'name': 'drop', 'last': 0, 'factor': 0.5}}, r'^optimizer\.schedule\.last is at least 1, found 0$'),
        ({'schedule': {'name': 'drop', 'last': 5, 'factor': 0.0}}, r'^optimizer\.schedule\.factor is above 0, found 0\.0$'),
        ({'schedule': {'name': 'linear', 'final': -0.1}}, r'^optimizer\.schedule\.final is at least 0, found -0\.1$'),
        ({'warmup_power': 0.0}, r'^optimizer\.warmup_power is above 0, found 0\.0$'),
        ({'warmup_steps': -1}, r'^optimizer\.warmup_steps is at least 0, found -1$'),
        ({'learning_rate': math.inf}, r'^optimizer\.learning_rate is above 0, found inf$'),
        ({'clip_norm': math.nan}, r'^optimizer\.clip_norm is at least 0, found nan$'),
        ({'rates': {'network/stem': -1.0}}, r'^optimizer\.rates\.network/stem is at least 0, found -1\.0$'),
        ({'b2': 1.0}, r'^optimizer\.b2 is at least 0 and below 1, found 1\.0$'),
        ({'eps': 0.0}, r'^optimizer\.eps is above 0, found 0\.0$'),
        ({'weight_decay': -0.1}, r'^optimizer\.weight_decay is at least 0, found -0\.1$'),
    ],
)
def test_wrong_options_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        _tx(common.adam(), **changes)


def test_the_configs_have_every_option_of_what_they_name():
    for options, schedule in itertools.product(
        (common.adam(), common.adamw(), common.sgd()),
        ({'name': 'constant'}, {'name': 'linear', 'final': 0.0}, {'name': 'cosine', 'final': 0.0}),
    ):
        assert options['name'] in optimizer.OPTIMIZERS
        _tx(options, schedule=schedule)
