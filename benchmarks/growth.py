"""How the cost of a training step grows, one quantity after the other, with the expected law beside what is measured.

    python -m benchmarks.growth --batch 4 --side 64 --blocks 2 --rounds 5 [--quantities batch side ...]
    python -m benchmarks.growth --config configs/iic_textures.py --batch 4 --side 64 --rounds 5

Every quantity goes through its values from the step that the other flags describe, whose other sizes stay. The steps of one
quantity are timed side by side. Laws go through the measured step at the flags' sizes: linear in the batch and quadratic in the
side of the image; for the residual blocks, of which each is about four times the one before, and for the clusters the
floating-point operations of convolutions and matrix products (`workload.Workload.flop`); constant in the half-window of
displacements, whose sums do not grow with it much, and in the number of orderings, of which a step draws two.

More than eight orderings include zigzag scans. A step that can meet both kinds has the taps and the padding of both, for which
the law has no place, and one that can meet few needs fewer turns.

With --config it is the step of that config, of any method, at the flags' batch, side and precision, and batch, side and clusters
grow: the first two by the laws above; clusters are expected to cost nothing.

Prints a table and writes benchmarks/results/growth[_<config>]_<platform>.json and .png. `benchmarks.ast_growth` has AST's slots.
"""

import argparse
import dataclasses
import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from ar_seg_jax.drawing import plots
from ar_seg_jax.orderings import ORDERINGS
from benchmarks import report, timing
from benchmarks.configured import Configured
from benchmarks.package_step import package_step
from benchmarks.workload import Workload

_MEASURED, _LAW, _GRID = '#2468a8', '#d97706', '#e5e7eb'


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What grows: a field of the workload.

    law: the expected ratio of the times of a step and of the step that the flags describe.
    """

    title: str
    values: tuple[int, ...]
    law_name: str
    law: Callable[[Workload, Workload], float]
    field: str
    scale: str = 'log'  # of its axis

    def size(self, workload: Workload) -> int:
        value = getattr(workload, self.field)
        return len(value.split(',')) if self.field == 'orderings' else value

    def workload(self, base: Workload, value: int) -> Workload:
        return dataclasses.replace(base, **{self.field: ','.join([*ORDERINGS][:value]) if self.field == 'orderings' else value})


def _constant(workload, base):
    return 1.0


def _arithmetic(workload, base):
    return workload.flop / base.flop


QUANTITIES = (
    Quantity('images in a batch', (1, 2, 4, 8, 16), 'linear', lambda one, base: one.batch / base.batch, 'batch'),
    Quantity('side of the image, pixels', (32, 64, 128, 256), 'quadratic', lambda one, base: (one.side / base.side) ** 2, 'side'),
    Quantity('residual blocks', (1, 2, 3, 4), 'arithmetic, x 4 a block', _arithmetic, 'blocks', 'linear'),
    Quantity('clusters K', (2, 4, 8, 16, 32, 64), 'arithmetic of the network', _arithmetic, 'clusters'),
    Quantity('half-window T, pixels', (1, 5, 10, 20), 'constant', _constant, 'displacement'),
    Quantity('orderings to draw from', (1, 2, 4, 8, 16), 'constant', _constant, 'orderings'),
)


# Of any config, whose arithmetic is not counted.
OF_A_CONFIG = (
    QUANTITIES[0],
    QUANTITIES[1],
    Quantity('clusters K', (2, 4, 8, 16, 32, 64), 'constant', _constant, 'clusters'),
)


def measure(quantity: Quantity, base: Workload, rounds: int) -> dict[str, Any]:
    """Seconds of a step, and those that the law expects, for each value."""
    values = sorted({*quantity.values, quantity.size(base)})
    workloads = [quantity.workload(base, value) for value in values]
    steps = [
        dataclasses.replace(package_step(workload)[0], name=str(value)) for value, workload in zip(values, workloads, strict=True)
    ]
    seconds = timing.interleave(steps, rounds)
    at_base = seconds[str(quantity.size(base))]['median']
    rows = [
        {
            'value': value,
            'seconds': seconds[str(value)],
            'expected_seconds': at_base * quantity.law(workload, base),
            'preparation_seconds': step.facts['preparation_seconds'],
            'peak_bytes': step.facts['peak_bytes'],
        }
        for value, workload, step in zip(values, workloads, steps, strict=True)
    ]
    names = {'quantity': quantity.title, 'law': quantity.law_name, 'scale': quantity.scale}
    return {**names, 'base': quantity.size(base), 'rows': rows}


def show(series: list[dict[str, Any]]):
    rows = [
        (
            one['quantity'],
            f'{row["value"]}',
            f'{row["seconds"]["median"]:.4g}',
            report.quartiles(row['seconds']),
            f'{row["expected_seconds"]:.4g} ({one["law"]})',
            f'{row["seconds"]["median"] / row["expected_seconds"]:.2f}',
            f'{row["peak_bytes"] / 1e6:.0f}',
        )
        for one in series
        for row in one['rows']
    ]
    print(report.table(('quantity', 'value', 'median, s', 'quartiles, s', 'law, s', 'times the law', 'peak, MB'), rows))


def draw(series: list[dict[str, Any]], title: str) -> Figure:
    """One panel a quantity, of one logarithmic scale of time; bars are quartiles."""
    columns = min(3, len(series))
    lines = -(-len(series) // columns)
    figure = Figure(figsize=(3.4 * columns + 0.4, 2.9 * lines + 0.7), dpi=120, layout='constrained')
    figure.suptitle(title, fontsize=11, parse_math=False)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for axes, one in zip(panels.flat, series, strict=False):
        _draw_series(axes, one)
    for axes in panels.flat[len(series) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel('seconds a step')
    return figure


def _draw_series(axes, one: dict[str, Any]):
    values = [row['value'] for row in one['rows']]
    low, median, high = (
        np.array([row['seconds'][name] for row in one['rows']]) for name in ('quartile_1', 'median', 'quartile_3')
    )
    axes.plot(values, [row['expected_seconds'] for row in one['rows']], '--', color=_LAW, label=one['law'])
    bars = {'capsize': 2.5, 'elinewidth': 1, 'markersize': 4}
    axes.errorbar(values, median, (median - low, high - median), fmt='o-', color=_MEASURED, label='measured', **bars)
    at_base = values.index(one['base'])
    axes.plot(values[at_base], median[at_base], 'o', color='white', markeredgecolor=_MEASURED, markersize=7, zorder=5)
    axes.set(xscale=one['scale'], yscale='log', xlabel=one['quantity'])
    axes.set_xticks(values, [str(value) for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=_GRID)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(loc='upper left', frameon=False, fontsize=8)


def add_flags(parser: argparse.ArgumentParser, quantities: Sequence[Quantity]):
    """Which of the quantities are measured, and how often."""
    fields = [quantity.field for quantity in quantities]
    parser.add_argument('--quantities', nargs='+', default=fields, choices=fields, help='fields of the workload; default: all')
    parser.add_argument('--rounds', type=int, default=5, help='at least 2; default: %(default)s')


def run(
    benchmark: str,
    quantities: Sequence[Quantity],
    fields: Sequence[str],
    base: Workload,
    rounds: int,
    sizes: str,
    variant: str = '',
):
    """Measures those quantities that have one of the fields, one after the other, from `base`, which is `sizes` in words; prints
    the table and saves table and plot."""
    series = []
    for quantity in quantities:
        if quantity.field not in fields:
            continue
        series.append(measure(quantity, base, rounds))
        gc.collect()  # or the arrays of one series would stay while the next one is measured
    show(series)
    path = report.save(benchmark, {'workload': dataclasses.asdict(base), 'rounds': rounds, 'series': series}, variant)
    figure = draw(series, f'A training step from {sizes} (open circle), on {jax.devices()[0].device_kind}')
    path.with_suffix('.png').write_bytes(plots.png(figure))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', help='a Python file; its method, instead of AC')
    Workload.add_flags(parser)
    parser.set_defaults(side=64, blocks=2)
    add_flags(parser, QUANTITIES)
    arguments = parser.parse_args()
    if arguments.config:
        base = Configured.of(arguments.config, batch=arguments.batch, side=arguments.side, dtype=arguments.dtype)
        name = Path(base.config).stem
        sizes = f'{name}: {base.batch} x {base.side} x {base.side}, K = {base.clusters}, {base.dtype}'
        run('growth', OF_A_CONFIG, arguments.quantities, base, arguments.rounds, sizes, name)
        return
    base = Workload.from_flags(arguments)
    sizes = f'{base.batch} x {base.side} x {base.side}, {base.blocks} blocks, K = {base.clusters}, {base.dtype}'
    run('growth', QUANTITIES, arguments.quantities, base, arguments.rounds, sizes)


if __name__ == '__main__':
    sys.exit(main())
