"""All that a run must not lose."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, UInt8

from ar_seg_jax.interfaces import Method


@struct.dataclass
class TrainState:
    """A pytree, whose leaves are arrays or, in a description of a state, their shapes.

    step: updates made so far, int32. params and extra: see `interfaces`. opt_state: that of optax. key: the one source of
    randomness of the step, folded with `step` and never advanced.
    """

    step: Any
    params: Any
    extra: Any
    opt_state: Any
    key: Any


def create_state(
    method: Method, tx: optax.GradientTransformation, seed: int, image: UInt8[Array, 'batch height width channels']
) -> TrainState:
    """The state before the first step; `image` gives the shape only."""
    init_key, key = jax.random.split(jax.random.key(seed))
    params, extra = method.init(init_key, image)
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, extra=extra, opt_state=tx.init(params), key=key)
