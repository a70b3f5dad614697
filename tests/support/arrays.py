"""Arrays of numbers at random."""

import jax.numpy as jnp
import numpy as np


def normal(seed, shape):
    """Drawn from the standard normal distribution, float32."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)
