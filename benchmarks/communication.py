"""What the training step of a config communicates between devices, read from its compiled program.

    python -m benchmarks.communication configs/coco3.py configs/potsdam3.py

Compiles the step at the real size of the config for simulated CPU devices, without allocating anything, and prints a table of
bytes per step. Beside them, as an expectation and not a measurement, the efficiency of 64 devices with 8 images each, from the
numbers below. Writes benchmarks/results/communication_cpu.json.
"""

import argparse
import dataclasses
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import hlo, report
from benchmarks.workload import Workload

DEVICES = 4
LINKS = {'NVLink, 450 GB/s': 450e9, '400 Gb/s': 50e9, '100 Gb/s': 12.5e9}  # bytes/s in one direction for each device
IMAGES = 8  # on each device
COMPUTE = 0.4 * 989e12  # FLOP/s of a device: 40 % of what an H100 or H200 does at best in bfloat16

_KINDS = 'all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast|ragged-all-to-all'
_COLLECTIVE = re.compile(rf'= (?P<shapes>.*?) (?P<kind>{_KINDS})(-start)?\(')
_COMPUTATION = re.compile(r'^(?P<entry>ENTRY )?%?(?P<name>[\w.-]+) .*\{$')
_CALLED = re.compile(r'(?:body|condition|calls|to_apply|true_computation|false_computation)=%?([\w.-]+)')
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Sent(hlo.Array):
    """One array that a collective communicates."""

    kind: str


def collectives(program: str) -> list[Sent]:
    """All arrays that a compiled program (HLO text) communicates, as often as its loops repeat them.

    Raises ValueError if a loop that communicates has no known number of rounds.
    """
    bodies, entry = {}, ''
    for line in program.splitlines():
        if match := _COMPUTATION.match(line):
            body = bodies[match['name']] = []
            entry = match['name'] if match['entry'] else entry
        elif bodies:
            body.append(line)

    def sent_by(name: str) -> list[Sent]:
        found = []
        for line in bodies[name]:
            if match := _COLLECTIVE.search(line):  # and not what it calls, the addition
                arrays = hlo.arrays(re.sub(r'/\*.*?\*/', '', match['shapes']))
                found += [Sent(array.type, array.shape, match['kind']) for array in arrays]
                continue
            branches = [name for group in _BRANCHES.findall(line) for name in re.split(r', *', group.replace('%', ''))]
            within = [array for called in _CALLED.findall(line) + branches for array in sent_by(called)]
            if within and ' while(' in line:
                trips = _TRIPS.search(line)
                if not trips:
                    raise ValueError(f'a loop that communicates has no known number of rounds: {line.strip()[:200]}')
                within *= int(trips[1])
            found += within
        return found

    return sent_by(entry)


def account(sent: Sequence[Sent], state, num_clusters: int) -> dict[str, int]:
    """Bytes by purpose; 'other' is what is neither a gradient, nor a batch statistic, nor a K x K sum, nor a scalar."""
    import jax

    parameters = {leaf.shape for leaf in jax.tree.leaves(state.params)}
    # Forward means and mean squares of each channel together; backward one array for either, which has all axes of the maps.
    statistics = {(*both, *leaf.shape) for leaf in jax.tree.leaves(state.extra) for both in ((), (2,))}
    purposes = {'gradients': 0, 'statistics': 0, 'sums': 0, 'other': 0}
    for array in sent:
        if array.kind != 'all-reduce':
            purpose = 'other'
        elif math.prod(array.shape) == 1 or array.shape[-2:] == (num_clusters, num_clusters):
            purpose = 'sums'
        elif array.shape in parameters:
            purpose = 'gradients'
        elif tuple(side for side in array.shape if side > 1) in statistics:
            purpose = 'statistics'
        else:
            purpose = 'other'
        purposes[purpose] += array.bytes
    return purposes


def measure(path: Path) -> dict[str, Any]:
    """A row of the table."""
    import jax

    from ar_seg_jax import build
    from benchmarks import programs

    config = programs.load(path)
    sizes = Workload.from_config(config)
    batch_size = sizes.batch - sizes.batch % jax.device_count()  # which the bytes do not depend on
    shape = (batch_size, sizes.side, sizes.side, sizes.channels)
    method = build.method(config)
    lowered, state = programs.lower_step(method, build.transformation(config, method, steps=1), shape)
    program = lowered.compile(programs.UNRUN)
    sent = collectives(program.as_text())
    images = batch_size // jax.device_count()
    return {
        'config': path.stem,
        'parameter_bytes': 4 * sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        **account(sent, state, method.num_clusters),
        'flop_per_image': program.cost_analysis()['flops'] / images,
    }


def efficiency(row: dict[str, Any], link: float, devices: int = 64) -> float:
    """Of many devices with `IMAGES` each: computing over computing plus a ring all-reduce that overlaps nothing."""
    computing = row['flop_per_image'] * IMAGES / COMPUTE
    sending = 2 * (devices - 1) / devices * sum(row[key] for key in ('gradients', 'statistics', 'sums', 'other')) / link
    return computing / (computing + sending)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', type=Path)
    os.environ['XLA_FLAGS'] = f'--xla_force_host_platform_device_count={DEVICES}'  # read when jax starts
    rows = []
    for path in parser.parse_args().configs:
        rows.append(measure(path))
        print(rows[-1], file=sys.stderr)
    titles = ('config', 'parameters, MB', 'gradients, MB', 'statistics, kB', 'K x K and scalars, B', 'other, B', *LINKS)
    cells = []
    for row in rows:
        sizes = (f'{row["parameter_bytes"] / 1e6:.1f}', f'{row["gradients"] / 1e6:.1f}', f'{row["statistics"] / 1e3:.1f}')
        expected = (f'{efficiency(row, link):.0%}' for link in LINKS.values())
        cells.append((row['config'], *sizes, str(row['sums']), str(row['other']), *expected))
    print(report.table(titles, cells))
    report.save('communication', {'rows': rows})


if __name__ == '__main__':
    sys.exit(main())
