"""Attention over the positions of a map, forward and backward, of both views: time, memory, and whether N x N scores exist.

    python -m benchmarks.attention --tokens 2500 10000 --timed_batch 1 --explicit 2500 10000 --rounds 5

Times `attention.attend` at the widths of the paper's network (one head of 128 channels), causal, against the matrix of all
scores at the numbers of tokens that `--explicit` names, and against PyTorch's own function where there is PyTorch.

Memory is that of the compiled program at `--batch` images, for numbers of tokens that double; nothing that large is allocated.
Of the text of the same programs the largest array is reported, stored or not, and all arrays with two axes of N or more: there
must be none.

Work is counted for the half of the pairs that causal attention has: two matrix products forward and five backward, since
whoever keeps no N x N array computes scores again. Prints two tables and writes benchmarks/results/attention_<platform>.json.
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import hlo, report, timing

DEPTH = 128
VIEWS = 2
PRODUCTS = 7  # of the causal half
GROWTH = (2500, 5000, 10_000, 20_000)
TORCH = importlib.util.find_spec('torch') is not None


def flop(batch: int, tokens: int) -> float:
    """Of both views, forward and backward."""
    return VIEWS * PRODUCTS * 2 * batch * tokens * (tokens + 1) / 2 * DEPTH


def package(query, key, value):
    from ar_seg_jax import attention

    return attention.attend(query, key, value, causal=True)


def explicit(query, key, value):
    """With the matrix of all scores."""
    import jax
    import jax.numpy as jnp

    scores = jnp.einsum('bqhd,bkhd->bhqk', query, key, preferred_element_type=jnp.float32) * query.shape[-1] ** -0.5
    later = jnp.triu(jnp.ones(scores.shape[2:], bool), 1)[None, None]
    weights = jax.nn.softmax(jnp.where(later, -jnp.inf, scores))
    return jnp.einsum('bhqk,bkhd->bqhd', weights.astype(value.dtype), value)


def compile_views(attend: Callable, batch: int, tokens: int, dtype: str):
    """Attention and its gradients, for a given gradient by its result, of each view."""
    import jax

    def of_view(inputs, cotangent):
        attended, back = jax.vjp(attend, *inputs)
        return attended, back(cotangent)

    shape = jax.ShapeDtypeStruct((batch, tokens, 1, DEPTH), dtype)
    views = [(shape,) * 3] * VIEWS
    return jax.jit(lambda views, cotangent: [of_view(view, cotangent) for view in views]).lower(views, shape).compile()


def contestants(batch: int, tokens: int, dtype: str, with_explicit: bool) -> list[timing.Contestant]:
    import jax
    import numpy as np

    keys = iter(jax.random.split(jax.random.key(0), 3 * VIEWS + 1))
    draw = lambda: jax.random.normal(next(keys), (batch, tokens, 1, DEPTH), dtype)  # noqa: E731
    views, cotangent = [(draw(), draw(), draw()) for _ in range(VIEWS)], draw()
    found = []
    for name, attend in (('JAX', package), ('explicit', explicit))[: 1 + with_explicit]:
        program = compile_views(attend, batch, tokens, dtype)
        run = lambda program=program: jax.block_until_ready(program(views, cotangent))  # noqa: E731
        found.append(timing.Contestant(name, run, {'temporary_bytes': program.memory_analysis().temp_size_in_bytes}))
    if TORCH:
        from benchmarks import pytorch_parts

        device = 'cuda' if jax.default_backend() == 'gpu' else 'cpu'
        single = jax.tree.map(lambda array: np.asarray(array, np.float32), (views, cotangent))
        found.append(pytorch_parts.attention(*single, dtype, device))
    return found


def measure(batch: int, tokens: int, dtype: str, with_explicit: bool, rounds: int) -> dict[str, Any]:
    from benchmarks import limits

    limit, runs = limits.matmul(dtype), contestants(batch, tokens, dtype, with_explicit)
    seconds = timing.interleave([limit, *runs], rounds)
    rate = limit.facts['amount'] / seconds['matmul']['median']
    rows = [
        {
            'name': run.name,
            **run.facts,
            'seconds': seconds[run.name],
            'share_of_matmul_rate': flop(batch, tokens) / seconds[run.name]['median'] / rate,
            'times_jax': seconds[run.name]['median'] / seconds['JAX']['median'],
        }
        for run in runs
    ]
    return {'batch': batch, 'tokens': tokens, 'flop': flop(batch, tokens), 'matmul_rate': rate, 'runs': rows}


def memory(batch: int, tokens: int, dtype: str) -> dict[str, Any]:
    """Of the compiled program, and which arrays it has."""
    program = compile_views(package, batch, tokens, dtype)
    size, text = program.memory_analysis().temp_size_in_bytes, program.as_text()
    largest = hlo.largest(text)
    return {
        'batch': batch,
        'tokens': tokens,
        'temporary_bytes': size,
        'bytes_per_token': size / (batch * tokens),
        'largest_array': f'{largest.type}{list(largest.shape)}',
        'squares': [f'{array.type}{list(array.shape)}' for array in hlo.squares(text, tokens)],
    }


def show(measured: dict[str, Any]):
    rows = [
        (
            f'{size["batch"]} x {size["tokens"]}',
            run['name'],
            f'{run["seconds"]["median"]:.4g}',
            report.quartiles(run['seconds']),
            f'{run["times_jax"]:.2f}',
            f'{run["share_of_matmul_rate"]:.1%}',
            f'{run["temporary_bytes"] / 1e6:.1f}' if 'temporary_bytes' in run else '-',
        )
        for size in measured['times']
        for run in size['runs']
    ]
    titles = ('batch x N', 'form', 'median, s', 'quartiles, s', 'times JAX', 'of matmul rate', 'temporary, MB')
    print(report.table(titles, rows), end='\n\n')
    rows = [
        (
            f'{row["batch"]} x {row["tokens"]}',
            f'{row["temporary_bytes"] / 1e9:.3f}',
            f'{row["bytes_per_token"]:.0f}',
            row['largest_array'],
            ', '.join(row['squares']) or 'none',
        )
        for row in measured['memory']
    ]
    print(report.table(('batch x N', 'temporary, GB', 'bytes a token', 'largest array', 'N x N'), rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=30, help='images whose memory is reported; default: %(default)s')
    parser.add_argument('--timed_batch', type=int, default=1, help='images that are timed; default: %(default)s')
    parser.add_argument('--tokens', type=int, nargs='+', default=(2500, 10_000), help='that are timed; default: 2500 10000')
    parser.add_argument('--explicit', type=int, nargs='*', default=(2500,), help='of these, with all scores; default: 2500')
    parser.add_argument('--growth', type=int, nargs='*', default=GROWTH, help='tokens whose memory is reported; default: all')
    parser.add_argument('--dtype', default='float32', help='default: %(default)s')
    parser.add_argument('--rounds', type=int, default=5, help='at least 2; default: %(default)s')
    arguments = parser.parse_args()
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # leaves PyTorch its memory; read when jax starts
    timed, dtype = arguments.timed_batch, arguments.dtype
    measured = {
        'dtype': dtype,
        'rounds': arguments.rounds,
        'memory': [memory(arguments.batch, tokens, dtype) for tokens in arguments.growth],
        'times': [measure(timed, tokens, dtype, tokens in arguments.explicit, arguments.rounds) for tokens in arguments.tokens],
    }
    show(measured)
    report.save('attention', measured)


if __name__ == '__main__':
    sys.exit(main())
