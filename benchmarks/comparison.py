"""The command of a benchmark that times training of the package and in PyTorch side by side."""

import argparse
import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, get_args

from benchmarks import report, timing

Form = Literal['eager', 'compiled']  # of PyTorch; 'compiled' is torch.compile
FORMS = get_args(Form)


class Sized(Protocol):
    """A dataclass of sizes. name: for files of results."""

    name: str


def main(benchmark: str, description: str, workloads: type[Sized], contestants: Callable[..., list[timing.Contestant]]):
    """Reads the sizes from the command line, measures, shows a table and saves the results under the name of the benchmark.

    workloads: has a flag for each of its fields. contestants: those of a workload and of some forms of PyTorch, 'JAX' among them.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, workloads)
    parser.add_argument('--rounds', type=int, default=10, help='at least 2; default: %(default)s')
    parser.add_argument('--against', nargs='*', default=FORMS, choices=FORMS, help='forms of PyTorch; default: all')
    arguments = vars(parser.parse_args())
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # leaves PyTorch its memory; read when jax starts
    rounds, forms = arguments.pop('rounds'), arguments.pop('against')
    if rounds < 2:
        parser.error(f'--rounds={rounds}: quartiles need at least 2')
    workload = workloads(**arguments)
    measured = {'workload': arguments, **measure(contestants(workload, forms), rounds)}
    show(measured)
    report.save(benchmark, measured, workload.name)


def add_flags(parser: argparse.ArgumentParser, workloads: type[Sized]):
    """One for each field of a dataclass of sizes."""
    for field in dataclasses.fields(workloads):
        parser.add_argument(f'--{field.name}', type=field.type, default=field.default, help='default: %(default)s')


def measure(contestants: Sequence[timing.Contestant], rounds: int) -> dict[str, Any]:
    """What is written down of them. Their facts have 'preparation_seconds', and 'peak_bytes' where these are known."""
    seconds = timing.interleave(contestants, rounds)
    rows = [
        {
            'name': contestant.name,
            **contestant.facts,
            'seconds': seconds[contestant.name],
            'times_jax': seconds[contestant.name]['median'] / seconds['JAX']['median'],
        }
        for contestant in contestants
    ]
    return {'rounds': rounds, 'steps': rows}


def show(measured: dict[str, Any]):
    titles = ('contestant', 'median, s', 'quartiles, s', 'times JAX', 'preparation, s', 'peak, MB')
    rows = [
        (
            row['name'],
            f'{row["seconds"]["median"]:.4g}',
            report.quartiles(row['seconds']),
            f'{row["times_jax"]:.2f}',
            f'{row["preparation_seconds"]:.1f}',
            f'{row["peak_bytes"] / 1e6:.0f}' if 'peak_bytes' in row else '-',
        )
        for row in measured['steps']
    ]
    print(report.table(titles, rows))
