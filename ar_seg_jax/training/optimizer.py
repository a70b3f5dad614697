"""The optimiser of a config: a direction, a learning rate over time, and which parameters take part; all from optax."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import keystr

from ar_seg_jax.configuration import choose
from ar_seg_jax.epochs import Phase
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import BATCH_STATS, Extra, Params

Rate = float | optax.Schedule

GRADIENT_DTYPES = ('float32', 'bfloat16')

# What numbers the options of config.optimizer may be, in words and as a test, by the last part of their names.
_ABOVE_0 = 'above 0', lambda value: 0 < value < math.inf
_FROM_0 = 'at least 0', lambda value: 0 <= value < math.inf
_FROM_1 = 'at least 1', lambda value: 1 <= value < math.inf
_SHARE = 'at least 0 and below 1', lambda value: 0 <= value < 1
_RANGES = {
    **dict.fromkeys(('learning_rate', 'warmup_power', 'eps', 'factor'), _ABOVE_0),
    **dict.fromkeys(('clip_norm', 'warmup_steps', 'weight_decay', 'final', 'rates'), _FROM_0),
    **dict.fromkeys(('every', 'last'), _FROM_1),
    **dict.fromkeys(('b1', 'b2', 'momentum'), _SHARE),
}


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """A transformation of optax, and the groups of parameters that it treats apart.

    frozen: groups that are not trained, and whose batch statistics stay as they are. restarted: groups with moments of their own,
    see `restart`. A group is what lies below a path, such as 'stem' or 'network/stem'. Raises UserError where both have a
    parameter. turns: transformations of the phases of a training that have one of their own, by the names of the phases, see
    `taking_turns`. shard_state: each device has a part of the state instead of all of it, and updates that part of the
    parameters. gradient_dtype: of the gradients that devices send each other.
    """

    tx: optax.GradientTransformation
    frozen: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    turns: Mapping[str, optax.GradientTransformation] = dataclasses.field(default_factory=dict)
    shard_state: bool = False
    gradient_dtype: str = 'float32'

    def __post_init__(self):
        for one, other in itertools.product(self.frozen, self.restarted):
            if _is_in(one, other) or _is_in(other, one):
                raise UserError(f'{one!r} cannot be frozen: the method draws {other!r} anew; take it out of --config.frozen')

    def during(self, phase: Phase | None) -> 'Optimizer':
        """What updates the parameters in the steps of a phase."""
        if phase is None:
            return self
        return dataclasses.replace(self, tx=self.turns.get(phase.name, self.tx), frozen=(*self.frozen, *phase.frozen))


def optimizer(
    *,
    name: str,
    learning_rate: float,
    warmup_steps: int,
    warmup_power: float,
    schedule: Mapping[str, Any],
    clip_norm: float,
    keep_unused: bool,
    rates: Mapping[str, float],
    shard_state: bool,
    gradient_dtype: str,
    steps: int,
    frozen: Sequence[str] = (),
    restarted: Sequence[str] = (),
    **options: Any,
) -> Optimizer:
    """The optimiser `name` with its options.

    learning_rate: reached after `warmup_steps`, along a power of their share from 0, and then changed by the `schedule` up to the
    last of `steps`. clip_norm: most of the norm of all gradients together; 0 for no limit. keep_unused: leave weights without a
    gradient as they are. rates: factors on the learning rate of groups of parameters. frozen, restarted, shard_state,
    gradient_dtype: see `Optimizer`. Raises UserError for what is out of range or unknown.
    """
    _check_ranges(
        options
        | {'learning_rate': learning_rate, 'warmup_steps': warmup_steps, 'warmup_power': warmup_power, 'clip_norm': clip_norm}
        | {f'schedule.{key}': value for key, value in schedule.items()}
        | {f'rates.{group}': rate for group, rate in rates.items()}
    )
    if gradient_dtype not in GRADIENT_DTYPES:
        raise UserError(f'optimizer.gradient_dtype is one of {", ".join(GRADIENT_DTYPES)}; found {gradient_dtype!r}')
    direction = choose(OPTIMIZERS, 'config.optimizer', {'name': name, **options})
    direction = _keeping_unused(direction) if keep_unused else direction
    if frozen or restarted:
        directions = {'': direction, **dict.fromkeys(restarted, direction), _FROZEN: optax.set_to_zero()}
        labels = functools.partial(_labels, groups=dict.fromkeys(frozen, _FROZEN) | {group: group for group in restarted})
        direction = optax.partition(directions, labels)
    parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    parts += [direction, optax.scale_by_learning_rate(_rate(learning_rate, warmup_steps, warmup_power, schedule, steps))]
    tx = optax.chain(*parts, *([_scale_groups(rates)] if rates else []))
    return Optimizer(tx, tuple(frozen), tuple(restarted), shard_state=shard_state, gradient_dtype=gradient_dtype)


def _check_ranges(options: Mapping[str, Any]):
    for name, value in options.items():
        part, _, last = name.rpartition('.')
        words, fits = _RANGES.get('rates' if part == 'rates' else last, ('', lambda _: True))
        if isinstance(value, int | float) and not fits(value):  # types are checked by `choose`
            raise UserError(f'optimizer.{name} is {words}, found {value}')


def taking_turns(others: Optimizer, turns: Mapping[str, Optimizer]) -> Optimizer:
    """An optimiser that is one of `turns` in the phase of this name, and `others` in all others.

    Its state is the states of all of them. Those whose turn it is not stay as they are, so that each schedule counts the steps
    of its own phases. Raises UserError for one of `turns` whose state is to lie, or whose gradients are to be sent, otherwise.
    """
    for name, one in turns.items():
        for key in ('shard_state', 'gradient_dtype'):
            if getattr(one, key) != getattr(others, key):
                raise UserError(
                    f'config.phase_optimizers.{name}.{key} has to be that of config.optimizer, {getattr(others, key)!r}; found '
                    f'{getattr(one, key)!r}'
                )
    txs = {_OTHERS: others.tx, **{name: one.tx for name, one in turns.items()}}

    def init(params):
        return {name: tx.init(params) for name, tx in txs.items()}

    def transformation(name):
        def update(gradients, state, params=None):
            updates, after = txs[name].update(gradients, state[name], params)
            return updates, {**state, name: after}

        return optax.GradientTransformation(init, update)

    return dataclasses.replace(others, tx=transformation(_OTHERS), turns={name: transformation(name) for name in turns})


def with_new_moments(optimizer: Optimizer, opt_state: optax.OptState, params: Params) -> optax.OptState:
    """`opt_state` as it is before the first step, but for the counts that schedules of the learning rate follow."""
    is_count = lambda node: isinstance(node, optax.ScaleByScheduleState)  # noqa: E731
    new = optimizer.tx.init(params)
    return jax.tree.map(lambda new, old: old if is_count(new) else new, new, opt_state, is_leaf=is_count)


def restart(optimizer: Optimizer, opt_state: optax.OptState, params: Params) -> optax.OptState:
    """`opt_state` with moments and counts of the `restarted` groups as they are before the first step."""

    def replaced(old, new):
        if not isinstance(old, optax.transforms.PartitionState):
            return old
        fresh = {group: new.inner_states[group] for group in optimizer.restarted}
        return old._replace(inner_states={**old.inner_states, **fresh})

    is_partition = lambda node: isinstance(node, optax.transforms.PartitionState)  # noqa: E731
    return jax.tree.map(replaced, opt_state, optimizer.tx.init(params), is_leaf=is_partition)


def without_frozen(gradients: Params, frozen: Sequence[str]) -> Params:
    """`gradients` with zeros for the frozen groups, so that XLA computes none there."""
    labels = _labels(gradients, dict.fromkeys(frozen, _FROZEN))
    return jax.tree.map(lambda leaf, label: jnp.zeros_like(leaf) if label else leaf, gradients, labels)


def with_frozen_statistics(extra: Extra, before: Extra, frozen: Sequence[str]) -> Extra:
    """`extra` with the batch statistics that the frozen groups had `before`. They have the paths of the parameters."""
    groups = [f'{BATCH_STATS}/{group}' for group in frozen]

    def chosen(path, new, old):
        place = keystr(path, simple=True, separator='/')
        return old if any(_is_in(place, group) for group in groups) else new

    return jax.tree_util.tree_map_with_path(chosen, extra, before) if groups else extra


_FROZEN = '(frozen)'  # no path of parameters
_OTHERS = '(others)'  # no name of a phase


def _is_in(path: str, group: str) -> bool:
    return path == group or path.startswith(f'{group}/')


def _labels(params: Params, groups: Mapping[str, Any]) -> Any:
    """For each leaf the value of the most special group that it is in, or ''. UserError for a group without any."""
    used = set()
    by_length = sorted(groups.items(), key=lambda item: len(item[0]), reverse=True)

    def label(path, _):
        place = keystr(path, simple=True, separator='/')
        for group, value in by_length:
            if _is_in(place, group):
                used.add(group)
                return value
        return ''

    labels = jax.tree_util.tree_map_with_path(label, params)
    if missing := [group for group in groups if group not in used]:
        raise UserError(f'no parameters are called {", ".join(missing)}; on top there are {", ".join(params)}')
    return labels


def _keeping_unused(direction: optax.GradientTransformation) -> optax.GradientTransformation:
    """`direction`, but weights with a gradient of exactly zero, and their moments, stay as they are.

    Such are the taps of a masked convolution that neither view used. The paper says that masked weights remain unchanged, yet
    under Adam, in its own code too, momentum of earlier steps moves them on, by up to 0.7 of a learning rate.
    """

    def update(gradients, state, params=None):
        used = jax.tree.map(lambda gradient: gradient != 0, gradients)
        like_gradients = lambda node: jax.tree.structure(node) == jax.tree.structure(used)  # noqa: E731

        def merged(new, old):
            return jax.tree.map(jnp.where, used, new, old) if like_gradients(new) else new

        updates, after = direction.update(gradients, state, params)
        updates = jax.tree.map(lambda update, used: update * used, updates, used)
        return updates, jax.tree.map(merged, after, state, is_leaf=like_gradients)

    return optax.GradientTransformation(direction.init, update)


def _scale_groups(rates: Mapping[str, float]) -> optax.GradientTransformation:
    def scale(updates, params):
        return jax.tree.map(lambda update, rate: update if rate == '' else rate * update, updates, _labels(updates, rates))

    return optax.stateless(scale)


def _adam(*, b1: float, b2: float, eps: float, weight_decay: float) -> optax.GradientTransformation:
    """Adam; weight decay is a part of the gradient, as in PyTorch's Adam."""
    return optax.chain(*_decay(weight_decay), optax.scale_by_adam(b1, b2, eps))


def _adamw(*, b1: float, b2: float, eps: float, weight_decay: float) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    return optax.chain(optax.scale_by_adam(b1, b2, eps), *_decay(weight_decay))


def _sgd(*, momentum: float, nesterov: bool, weight_decay: float) -> optax.GradientTransformation:
    """Gradient descent with momentum; weight decay is a part of the gradient."""
    return optax.chain(*_decay(weight_decay), optax.trace(momentum, nesterov))


def _decay(weight_decay: float) -> list[optax.GradientTransformation]:
    return [optax.add_decayed_weights(weight_decay)] if weight_decay else []


OPTIMIZERS: Mapping[str, Callable[..., optax.GradientTransformation]] = {'adam': _adam, 'adamw': _adamw, 'sgd': _sgd}


def _rate(learning_rate: float, warmup_steps: int, warmup_power: float, schedule: Mapping[str, Any], steps: int) -> Rate:
    rate = choose(SCHEDULES, 'config.optimizer.schedule', schedule, learning_rate=learning_rate, steps=steps - warmup_steps)
    if not warmup_steps:
        return rate
    after = rate if callable(rate) else optax.constant_schedule(rate)
    return optax.join_schedules([lambda count: learning_rate * (count / warmup_steps) ** warmup_power, after], [warmup_steps])


def _constant(*, learning_rate: float, steps: int) -> Rate:
    return learning_rate


def _linear(*, learning_rate: float, steps: int, final: float) -> Rate:
    """In a line to `final` times its value after the last step."""
    return optax.linear_schedule(learning_rate, final * learning_rate, max(steps, 1))


def _cosine(*, learning_rate: float, steps: int, final: float) -> Rate:
    """Half a cosine to `final` times its value after the last step."""
    return optax.cosine_decay_schedule(learning_rate, max(steps, 1), final)


def _steps(*, learning_rate: float, steps: int, every: int, factor: float) -> Rate:
    """Times `factor` after each `every` steps."""
    return optax.exponential_decay(learning_rate, every, factor, staircase=True)


def _drop(*, learning_rate: float, steps: int, last: int, factor: float) -> Rate:
    """Times `factor` in the `last` steps."""
    return optax.piecewise_constant_schedule(learning_rate, {max(steps - last, 0): factor})


SCHEDULES: Mapping[str, Callable[..., Rate]] = {
    'constant': _constant,
    'linear': _linear,
    'cosine': _cosine,
    'steps': _steps,
    'drop': _drop,
}
FOLLOW_LENGTH = frozenset({'linear', 'cosine', 'drop'})  # those whose rates depend on how many steps there will be
