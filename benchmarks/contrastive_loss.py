"""The ARL loss with all places of all other images as negatives: time, share of the matmul rate, and memory.

    python -m benchmarks.contrastive_loss --side 20 --growth 50 71 100 --rounds 5

Times the loss and its gradients by anchors, positives and negatives for maps of `--side` x `--side` places of 128 channels, the
width after the critics, and where `--dense` asks for it, the form that keeps the matrix of all scores. Memory is that of the
compiled program at the paper's batch of 30 and the sides of `--growth`; nothing that large is allocated.

Work is counted for the pairs of different images only: one matrix product forward and two backward, depth 128. Left out are the
product that finds scores again in the backward pass, the pairs within an image, exponentials (two a pair) and positives. So
three quarters are the most that can be reached. `bound` is what remains of that if each exponential takes the time that it
takes on its own, without any other pass over the scores. Prints two tables and writes
benchmarks/results/contrastive_loss_<platform>.json.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax.objectives.info_nce import ContrastiveLoss
from benchmarks import limits, report, timing
from benchmarks.timing import Contestant

PAPER = {'batch': 30, 'side': 100}
DEPTH = 128
LOSS = ContrastiveLoss(displacement=1, temperature=1.0)
Maps = Float[Array, 'batch height width depth']


def pairs(batch: int, side: int) -> int:
    """Of an anchor and a place of another image."""
    return batch * (batch - 1) * side**4


def flop(batch: int, side: int) -> int:
    return 3 * 2 * pairs(batch, side) * DEPTH


def package_loss(anchors: Maps, positives: Maps, negatives: Float[Array, 'batch places depth']) -> Float[Array, '']:
    return LOSS(anchors, positives, negatives)[0]


def dense_loss(anchors: Maps, positives: Maps, negatives: Float[Array, 'batch places depth']) -> Float[Array, '']:
    """The same with all scores in one matrix, of which the pairs within an image are left out."""
    batch, height, width, depth = anchors.shape
    places = height * width
    scores = anchors.reshape(-1, depth) @ negatives.reshape(-1, depth).T
    images = jnp.repeat(jnp.arange(batch), places)
    others = jnp.where(images[:, None] == images[None], -jnp.inf, scores)
    partition = jax.nn.logsumexp(others, axis=1).reshape(batch, places)
    own = jnp.einsum('bpd,bqd->bpq', anchors.reshape(batch, places, depth), positives.reshape(batch, places, depth))
    rows, columns = jnp.divmod(jnp.arange(places), width)
    near = jnp.maximum(abs(rows[:, None] - rows[None]), abs(columns[:, None] - columns[None])) <= LOSS.displacement
    total = jnp.sum(jnp.where(near[None], jax.nn.softplus(partition[:, :, None] - own), 0))
    return total / (batch * near.sum()) - jnp.log(1 + (batch - 1) * float(places))


def compile_gradients(loss: Callable, batch: int, side: int):
    maps = jax.ShapeDtypeStruct((batch, side, side, DEPTH), jnp.float32)
    keys = jax.ShapeDtypeStruct((batch, side**2, DEPTH), jnp.float32)
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2))).lower(maps, maps, keys).compile()


def contestant(name: str, loss: Callable, batch: int, side: int) -> Contestant:
    program = compile_gradients(loss, batch, side)
    anchors, positives = (jax.random.normal(jax.random.key(seed), (batch, side, side, DEPTH)) for seed in range(2))
    inputs = anchors, positives, positives.reshape(batch, -1, DEPTH)
    facts = {'temporary_bytes': program.memory_analysis().temp_size_in_bytes}
    return Contestant(name, lambda: jax.block_until_ready(program(*inputs)), facts)


def exponentials() -> Contestant:
    """Exponentials of numbers that are read once, summed up."""
    count = (1 << 30) if jax.default_backend() == 'gpu' else (1 << 25)
    numbers = jnp.zeros(count)
    program = jax.jit(lambda x: jnp.exp(x - 1).sum()).lower(numbers).compile()
    return Contestant('exponentials', lambda: program(numbers).block_until_ready(), {'amount': count})


def measure(batch: int, side: int, with_dense: bool, rounds: int) -> dict[str, Any]:
    rates_of = [limits.matmul(), limits.copy(), exponentials()]
    forms = [contestant('JAX', package_loss, batch, side)]
    if with_dense:
        forms.append(contestant('dense', dense_loss, batch, side))
    seconds = timing.interleave([*rates_of, *forms], rounds)
    rates = {limit.name: limit.facts['amount'] / seconds[limit.name]['median'] for limit in rates_of}
    needed = flop(batch, side) / rates['matmul']
    least = needed * 4 / 3 + 2 * pairs(batch, side) / rates['exponentials']
    rows = [
        {
            'name': form.name,
            **form.facts,
            'seconds': seconds[form.name],
            'share_of_matmul_rate': needed / seconds[form.name]['median'],
        }
        for form in forms
    ]
    return {'batch': batch, 'side': side, 'flop': flop(batch, side), 'rates': rates, 'bound': needed / least, 'runs': rows}


def memory(batch: int, side: int) -> dict[str, Any]:
    size = compile_gradients(package_loss, batch, side).memory_analysis().temp_size_in_bytes
    positions = batch * side**2
    return {'batch': batch, 'side': side, 'temporary_bytes': size, 'bytes_per_position': size / positions}


def show(measured: dict[str, Any]):
    times = measured['times']
    rates, size = times['rates'], f'{times["batch"]} x {times["side"]} x {times["side"]}'
    print(
        f'matmul {rates["matmul"] / 1e9:.4g} GFLOP/s, copy {rates["copy"] / 1e9:.4g} GB/s, '
        f'{rates["exponentials"] / 1e9:.3g} G exponentials/s: at most {times["bound"]:.1%} of the matmul rate\n'
    )
    rows = [
        (
            size,
            run['name'],
            f'{run["seconds"]["median"]:.4g}',
            report.quartiles(run['seconds']),
            f'{run["share_of_matmul_rate"]:.1%}',
            f'{run["temporary_bytes"] / 1e6:.1f}',
        )
        for run in times['runs']
    ]
    print(report.table(('positions', 'form', 'median, s', 'quartiles, s', 'of matmul rate', 'temporary, MB'), rows), end='\n\n')
    rows = [
        (
            f'{row["batch"]} x {row["side"]} x {row["side"]}',
            f'{row["temporary_bytes"] / 1e9:.3f}',
            f'{row["bytes_per_position"]:.0f}',
            f'{4 * row["batch"] ** 2 * row["side"] ** 4 / 1e9:.4g}',
        )
        for row in measured['memory']
    ]
    print(report.table(('positions', 'temporary, GB', 'bytes a position', 'matrix of all scores, GB'), rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=PAPER['batch'], help='default: %(default)s')
    parser.add_argument('--side', type=int, default=20, help="places that are timed, the paper's are 100; default: %(default)s")
    parser.add_argument('--dense', action=argparse.BooleanOptionalAction, default=True, help='default: %(default)s')
    parser.add_argument('--growth', type=int, nargs='*', default=(25, 50, 71, PAPER['side']), help='sides; default: 25 50 71 100')
    parser.add_argument('--rounds', type=int, default=5, help='at least 2; default: %(default)s')
    arguments = parser.parse_args()
    measured = {
        'rounds': arguments.rounds,
        'memory': [memory(PAPER['batch'], side) for side in arguments.growth],
        'times': measure(arguments.batch, arguments.side, arguments.dense, arguments.rounds),
    }
    show(measured)
    report.save('contrastive_loss', measured)


if __name__ == '__main__':
    sys.exit(main())
