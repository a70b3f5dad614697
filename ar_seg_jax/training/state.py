"""All that a run must not lose."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, UInt8

from ar_seg_jax.interfaces import Extra, Method, ModelState, Params


@struct.dataclass
class TrainState:
    """What training needs: the model's state, and what is of no use without further training.

    opt_state: that of optax. key: the one source of randomness of the step, folded with `step` and never advanced. skipped,
    skipped_in_row: steps that were not applied because something was not finite, in all and since the last one that was,
    int32.
    """

    step: Any
    params: Params
    extra: Extra
    opt_state: optax.OptState
    key: Any
    skipped: Any
    skipped_in_row: Any

    @property
    def model(self) -> ModelState:
        return ModelState(self.step, self.params, self.extra)


def create_state(
    method: Method, tx: optax.GradientTransformation, seed: int, image: UInt8[Array, 'batch height width channels']
) -> TrainState:
    """The state before the first step; `image` gives the shape only."""
    init_key, key = jax.random.split(jax.random.key(seed))
    params, extra = method.init(init_key, image)
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, params, extra, tx.init(params), key, zero, zero)
