"""What the device can do: the rate of matrix products, the bandwidth of a copy.

    python -m benchmarks.limits

Prints both, of products in float32 (`highest`, and with TF32 where there is a GPU) and in bfloat16, and writes
benchmarks/results/limits_<platform>.json.
"""

import argparse
import sys

import jax
import jax.numpy as jnp

from benchmarks import report, timing
from benchmarks.timing import Contestant

_COUNT = 10  # products, one after the other
# By name: the type of the matrices, and JAX's precision of their products.
_PRODUCTS = {
    'float32': ('float32', 'highest'),
    'tensorfloat32': ('float32', 'tensorfloat32'),
    'bfloat16': ('bfloat16', 'default'),
}


def matmul(dtype: str = 'float32', precision: str | None = None, size: int = 0) -> Contestant:
    """Ten products of square matrices, each with the last one's result. size: of a side; 0 for one that fills the device."""
    size = size or (8192 if jax.default_backend() == 'gpu' else 2048)
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype) / size**0.5

    @jax.jit
    def products(x):
        return jax.lax.fori_loop(0, _COUNT, lambda _, product: jnp.matmul(product, x, precision=precision), x)

    chain = products.lower(matrix).compile()
    return Contestant('matmul', lambda: chain(matrix).block_until_ready(), {'amount': 2 * size**3 * _COUNT})


def copy(megabytes: int = 0) -> Contestant:
    """An array read and another one written. megabytes: of the array; 0 for more than caches hold."""
    size = (megabytes << 20) or ((1 << 30) if jax.default_backend() == 'gpu' else (1 << 27))
    array = jnp.zeros(size // 4)
    increment = jax.jit(lambda x: x + 1).lower(array).compile()
    return Contestant('copy', lambda: increment(array).block_until_ready(), {'amount': 2 * size})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=10, help='at least 2; default: %(default)s')
    parser.add_argument('--size', type=int, default=0, help='of matrices; default: one that fills the device')
    parser.add_argument('--megabytes', type=int, default=0, help='of arrays; default: more than caches hold')
    arguments = parser.parse_args()
    products = {name: one for name, one in _PRODUCTS.items() if name != 'tensorfloat32' or jax.default_backend() == 'gpu'}
    limits = {name: matmul(*one, arguments.size) for name, one in products.items()} | {'copy': copy(arguments.megabytes)}
    named = [Contestant(name, limit.run) for name, limit in limits.items()]
    seconds = timing.interleave(named, arguments.rounds)
    rates = {name: limit.facts['amount'] / seconds[name]['median'] for name, limit in limits.items()}
    units = {name: 'GB/s' if name == 'copy' else 'GFLOP/s' for name in rates}
    print(report.table(('limit', 'rate'), [(name, f'{rate / 1e9:.4g} {units[name]}') for name, rate in rates.items()]))
    report.save('limits', {'rates': rates, 'seconds': seconds})


if __name__ == '__main__':
    sys.exit(main())
