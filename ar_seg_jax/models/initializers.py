"""How PyTorch draws the weights of its layers where nothing else is said: uniform between +-1/sqrt(fan_in)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

# Of kernels (..., inputs, outputs) of linear layers and convolutions: variance_scaling's limit is sqrt(3 * scale / fan).
uniform = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')
# Of transposed convolutions, whose fan_in PyTorch takes to be outputs x size^2.
uniform_transposed = nn.initializers.variance_scaling(1 / 3, 'fan_out', 'uniform')


def uniform_bias(fan_in: int) -> Callable[..., jax.Array]:
    """Of a bias beside a kernel with so many values for each output."""

    def drawn(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -(fan_in**-0.5), fan_in**-0.5)

    return drawn
