"""All that a run must not lose."""

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int, Key, UInt8

from ar_seg_jax.interfaces import Extra, Method, Params


@struct.dataclass
class TrainState:
    """step: updates made so far. key: the one source of randomness of the step, folded with `step` and never advanced."""

    step: Int[Array, '']
    params: Params
    extra: Extra
    opt_state: optax.OptState
    key: Key[Array, '']


def create_state(
    method: Method, tx: optax.GradientTransformation, seed: int, image: UInt8[Array, 'batch height width channels']
) -> TrainState:
    """The state before the first step; `image` gives the shape only."""
    init_key, key = jax.random.split(jax.random.key(seed))
    params, extra = method.init(init_key, image)
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, extra=extra, opt_state=tx.init(params), key=key)
