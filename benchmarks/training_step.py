"""The AC training step in JAX and in PyTorch, and the limits of the device, measured side by side.

    python -m benchmarks.training_step --batch 4 --side 128 --blocks 4 --rounds 10

Every round runs each of them once, in an order that rotates. Prints a table of medians and quartiles, the share of the measured
matmul rate that the arithmetic of the step achieves (`workload.Workload.flop`), preparation and peak memory, and writes
benchmarks/results/training_step_<sizes>_<platform>.json. `--against` without a form leaves out PyTorch, which
requirements.txt does not have (`pip install torch`).

Preparation is compilation in JAX and the first step of each of eight orderings in PyTorch, which compiles in them. Peak memory
is that of the compiled program in JAX, the allocator's in PyTorch and only known on a GPU; both with parameters and Adam's
moments.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import report, timing
from benchmarks.workload import Workload

FORMS = ('paper', 'product', 'best')  # see pytorch_forms.step


def contestants(workload: Workload, forms: Sequence[str]) -> tuple[list, list]:
    """Limits of the device, and training steps: JAX first, then the forms of PyTorch that fit into memory."""
    import jax

    from benchmarks import limits as limits_of
    from benchmarks.package_step import package_step

    step, variables = package_step(workload)
    limits, steps = [limits_of.copy(), limits_of.matmul(workload.dtype)], [step]
    if forms:
        from benchmarks import pytorch_forms

        device = 'cuda' if jax.default_backend() == 'gpu' else 'cpu'
        limits.append(pytorch_forms.matmul(workload.dtype, device))
        steps += pytorch_forms.steps(workload, variables, forms, device)
    return limits, steps


def measure(workload: Workload, forms: Sequence[str], rounds: int) -> dict[str, Any]:
    """All that is written down. The matmul rate is the higher one of JAX's and PyTorch's."""
    limits, steps = contestants(workload, forms)
    seconds = timing.interleave([*limits, *steps], rounds)
    rates = {limit.name: limit.facts['amount'] / seconds[limit.name]['median'] for limit in limits}
    best = max(rate for name, rate in rates.items() if name.startswith('matmul'))
    rows = [
        {
            'name': step.name,
            **step.facts,
            'seconds': seconds[step.name],
            'share_of_matmul_rate': workload.flop / seconds[step.name]['median'] / best,
            'times_jax': seconds[step.name]['median'] / seconds['JAX']['median'],
        }
        for step in steps
    ]
    return {'workload': dataclasses.asdict(workload), 'flop': workload.flop, 'rounds': rounds, 'rates': rates, 'steps': rows}


def show(measured: dict[str, Any]):
    rates = ', '.join(
        f'{name} {rate / 1e9:.4g} G{"B" if name == "copy" else "FLOP"}/s' for name, rate in measured['rates'].items()
    )
    titles = ('step', 'precision', 'median, s', 'quartiles, s', 'times JAX', 'of matmul rate', 'preparation, s', 'peak, GB')
    rows = [
        (
            row['name'],
            row['precision'],
            f'{row["seconds"]["median"]:.4g}',
            report.quartiles(row['seconds']),
            f'{row["times_jax"]:.2f}',
            f'{row["share_of_matmul_rate"]:.1%}',
            f'{row["preparation_seconds"]:.1f}',
            f'{row["peak_bytes"] / 1e9:.2f}' if row['peak_bytes'] else '-',
        )
        for row in measured['steps']
    ]
    print(f'{rates}; {measured["flop"] / 1e12:.4g} TFLOP a step\n\n{report.table(titles, rows)}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    Workload.add_flags(parser)
    parser.add_argument('--rounds', type=int, default=10, help='at least 2; default: %(default)s')
    parser.add_argument('--against', nargs='*', default=FORMS, choices=FORMS, help='forms of PyTorch; default: all')
    arguments = parser.parse_args()
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # leaves PyTorch its memory; read when jax starts
    workload = Workload.from_flags(arguments)
    measured = measure(workload, arguments.against, arguments.rounds)
    show(measured)
    report.save('training_step', measured, workload.name)


if __name__ == '__main__':
    sys.exit(main())
