"""What the device can do: the rate of matrix products, the bandwidth of a copy."""

import jax
import jax.numpy as jnp

from benchmarks.timing import Contestant


def matmul(dtype: str = 'float32') -> Contestant:
    """Ten products of square matrices, each with the last one's result."""
    size, count = (8192 if jax.default_backend() == 'gpu' else 2048), 10
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype) / size**0.5
    chain = jax.jit(lambda x: jax.lax.fori_loop(0, count, lambda _, product: product @ x, x)).lower(matrix).compile()
    return Contestant('matmul', lambda: chain(matrix).block_until_ready(), {'amount': 2 * size**3 * count})


def copy() -> Contestant:
    """An array read and another one written."""
    size = (1 << 30) if jax.default_backend() == 'gpu' else (1 << 27)
    array = jnp.zeros(size // 4)
    increment = jax.jit(lambda x: x + 1).lower(array).compile()
    return Contestant('copy', lambda: increment(array).block_until_ready(), {'amount': 2 * size})
