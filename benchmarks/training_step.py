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
import importlib.util
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.workload import Workload

ROOT = Path(__file__).parents[1]
FORMS = ('paper', 'product', 'best')  # see pytorch_forms.step


def contestants(workload: Workload, forms: Sequence[str]) -> tuple[list, list]:
    """Limits of the device, and training steps: JAX first, then the forms of PyTorch that fit into memory."""
    import jax

    from benchmarks import contestants as package

    step, variables = package.package_step(workload)
    limits, steps = [package.copy(), package.matmul(workload.dtype)], [step]
    if forms:
        from benchmarks import pytorch_forms

        device = 'cuda' if jax.default_backend() == 'gpu' else 'cpu'
        limits.append(pytorch_forms.matmul(workload.dtype, device))
        steps += pytorch_forms.steps(workload, variables, forms, device)
    return limits, steps


def interleave(found: Sequence, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of a run by name: median and spread. The first round, in which things warm up, is left out."""
    seconds = {contestant.name: [] for contestant in found}
    for index in range(rounds + 1):
        first = index % len(found)
        for contestant in (*found[first:], *found[:first]):
            start = time.perf_counter()
            contestant.run()
            seconds[contestant.name].append(time.perf_counter() - start)
    return {name: _spread(times[1:]) for name, times in seconds.items()}


def _spread(times: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(times, n=4, method='inclusive')
    return {'min': min(times), 'quartile_1': low, 'median': median, 'quartile_3': high, 'max': max(times)}


def measure(workload: Workload, forms: Sequence[str], rounds: int) -> dict[str, Any]:
    """All that is written down, up to where it was measured. The matmul rate is the higher one of JAX's and PyTorch's."""
    limits, steps = contestants(workload, forms)
    seconds = interleave([*limits, *steps], rounds)
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


def machine() -> dict[str, Any]:
    """Where it was measured."""
    import jax

    packages = ('jax', 'jaxlib', 'flax', 'torch')
    versions = {name: metadata.version(name) for name in packages if importlib.util.find_spec(name)}
    device = jax.devices()[0]
    return {'device': device.device_kind, 'platform': device.platform, 'cores': os.cpu_count(), 'versions': versions}


def table(measured: dict[str, Any]) -> str:
    rates = ', '.join(
        f'{name} {rate / 1e9:.4g} G{"B" if name == "copy" else "FLOP"}/s' for name, rate in measured['rates'].items()
    )
    titles = ('step', 'precision', 'median, s', 'quartiles, s', 'times JAX', 'of matmul rate', 'preparation, s', 'peak, GB')
    lines = [f'{rates}; {measured["flop"] / 1e12:.4g} TFLOP a step', '']
    lines += ['| ' + ' | '.join(titles) + ' |', '|' + ' --- |' * len(titles)]
    for row in measured['steps']:
        seconds, peak = row['seconds'], row['peak_bytes']
        cells = (
            row['name'],
            row['precision'],
            f'{seconds["median"]:.4g}',
            f'{seconds["quartile_1"]:.4g} to {seconds["quartile_3"]:.4g}',
            f'{row["times_jax"]:.2f}',
            f'{row["share_of_matmul_rate"]:.1%}',
            f'{row["preparation_seconds"]:.1f}',
            f'{peak / 1e9:.2f}' if peak else '-',
        )
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    Workload.add_flags(parser)
    parser.add_argument('--rounds', type=int, default=10, help='at least 2; default: %(default)s')
    parser.add_argument('--against', nargs='*', default=FORMS, choices=FORMS, help='forms of PyTorch; default: all')
    arguments = parser.parse_args()
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # leaves PyTorch its memory; read when jax starts
    workload = Workload.from_flags(arguments)
    measured = measure(workload, arguments.against, arguments.rounds)
    print(table(measured))
    where = machine()
    results = ROOT / 'benchmarks' / 'results'
    results.mkdir(exist_ok=True)
    command = shlex.join(['python', '-m', 'benchmarks.training_step', *sys.argv[1:]])
    path = results / f'training_step_{workload.name}_{where["platform"]}.json'
    path.write_text(json.dumps({'command': command, **where, **measured}, indent=1) + '\n')


if __name__ == '__main__':
    sys.exit(main())
