"""One update."""

from functools import partial

import jax
import optax

from ar_seg_jax.interfaces import Batch, Method, Metrics
from ar_seg_jax.training.state import TrainState


def make_train_step(method: Method, tx: optax.GradientTransformation):
    """A function (state, batch) -> (state, metrics) to be jitted.

    It is written for the global batch. Jitted over a batch that is split on a mesh, XLA inserts the sums over devices, so
    that mutual information, batch statistics and gradients are those of the whole batch on any number of devices.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        loss = partial(method.loss, batch=batch, key=key, step=state.step)
        (value, (extra, metrics)), gradients = jax.value_and_grad(loss, has_aux=True)(state.params, state.extra)
        updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = state.replace(step=state.step + 1, params=params, extra=extra, opt_state=opt_state)
        return state, {'loss': value, 'gradient_norm': optax.tree.norm(gradients), **metrics}

    return train_step
