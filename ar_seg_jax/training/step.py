"""One update, and what happens when it cannot be applied."""

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ar_seg_jax import parallel
from ar_seg_jax.epochs import Epochs, Time
from ar_seg_jax.errors import Diverged
from ar_seg_jax.interfaces import Batch, Extra, Method, Metrics, Params
from ar_seg_jax.training import gradients as gradients_of
from ar_seg_jax.training.optimizer import Optimizer, with_frozen_statistics, without_frozen
from ar_seg_jax.training.state import TrainState

_logger = logging.getLogger(__name__)


class Health(NamedTuple):
    """Whether each of `quantities` was finite; the norm of the gradients; steps that were not applied, in all and in a row."""

    finite: jax.Array
    gradient_norm: jax.Array
    skipped: jax.Array
    skipped_in_row: jax.Array


Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics, Health]]


def make_train_step(
    method: Method,
    optimizer: Optimizer,
    *,
    epochs: Epochs,
    micro_batches: int = 1,
) -> Step:
    """A function (state, batch) -> (state, metrics, health) to be jitted.

    It is written for the global batch. Under a mesh (`jax.set_mesh`) over which the batch is split, mutual information, batch
    statistics and gradients are those of the whole batch on any number of devices. More than one of `micro_batches` are the first
    axis of the batch, see `gradients.of_parts`.

    A step in which anything is not finite changes only the counters. (`optax.apply_if_finite` would let batch statistics
    through.)
    """
    compute = gradients_of.of_batch if micro_batches == 1 else gradients_of.of_parts
    summed = functools.partial(parallel.summed, dtype=optimizer.gradient_dtype, split=optimizer.shard_state)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics, Health]:
        key = jax.random.fold_in(state.key, state.step)
        time = Time.at(state.step, epochs)
        (loss, (extra, metrics)), gradients = compute(method, state.params, state.extra, batch, key=key, time=time, summed=summed)
        gradients = without_frozen(gradients, optimizer.frozen)
        updates, opt_state = optimizer.tx.update(gradients, state.opt_state, state.params)
        updates = without_frozen(updates, optimizer.frozen)  # moments, or the decay of weights, may go on in a phase
        params = optax.apply_updates(state.params, updates)
        extra = with_frozen_statistics(extra, state.extra, optimizer.frozen)
        metrics = {**metrics, 'loss': loss}

        checked = quantities(metrics, gradients, params, extra)
        finite = jnp.stack([jnp.all(jnp.isfinite(quantity)) for quantity in checked.values()])
        # Whether all are. A reduction would be fused into each of its hundreds of consumers, which doubles the time to compile.
        applied = jnp.sort(finite)[0]
        new, old = (params, extra, opt_state), (state.params, state.extra, state.opt_state)
        params, extra, opt_state = jax.tree.map(lambda new, old: jnp.where(applied, new, old), new, old)
        if optimizer.shard_state:
            params, opt_state = parallel.laid_out(params, opt_state)
        skipped = state.skipped + ~applied
        in_row = jnp.where(applied, 0, state.skipped_in_row + 1)
        state = TrainState(state.step + 1, params, extra, opt_state, state.key, skipped, in_row)
        return state, metrics, Health(finite, optax.tree.norm(gradients), skipped, in_row)

    return train_step


def quantities(metrics: Metrics, gradients: Params, params: Params, extra: Extra) -> dict[str, jax.Array]:
    """All that must be finite in a step, by name, in the order in which it is computed: what is no float always is."""

    def named(what, tree):
        return {
            f'{what} {jax.tree_util.keystr(path, simple=True, separator="/")}': leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
            if jnp.issubdtype(leaf.dtype, jnp.inexact)
        }

    # Sorted, because that is how metrics come out of a jitted function.
    return (
        dict(sorted(metrics.items())) | named('gradient of', gradients) | named('parameter', params) | named('statistic', extra)
    )


@dataclasses.dataclass(frozen=True)
class Watch:
    """Tells of each step that was not applied; after `limit` of them in a row (0: never) the run ends.

    learning_rate: for the message.
    """

    limit: int
    learning_rate: float

    def check(self, step: int, metrics: Metrics, health: Health, state: TrainState):
        """Looks at a step; `state` is any state of the run. Raises Diverged at the limit."""
        in_row = int(health.skipped_in_row)
        if not in_row:
            return
        names = list(quantities(metrics, state.params, state.params, state.extra))
        first = names[int(np.argmin(health.finite))]
        _logger.warning('Step %d was not applied: %s is not finite (%d in all)', step, first, health.skipped)
        if self.limit and in_row >= self.limit:
            raise Diverged(
                f'{in_row} steps in a row, up to step {step}, were not applied; the first quantity that is not finite is '
                f'{first}. The learning rate is {self.learning_rate:g}: try a lower one (--config.optimizer.learning_rate) in '
                'another --workdir. The last checkpoint is kept'
            )
