"""Memory of the training step, and the largest batch that fits, from the compiler's own count.

    python -m benchmarks.memory configs/coco3.py configs/potsdam3.py --target h200 --largest

Compiles the step of each config at its real size, in bfloat16, with and without `model.remat`, for one device: an absent one
(`programs.mesh`) or those that are here. Nothing is allocated. `--largest` looks for the largest batch, to within an image or
two, in 95 % of 16, 40, 80 and 141 GB (of 10^9 bytes; JAX takes 75 % unless XLA_PYTHON_CLIENT_MEM_FRACTION says more), whatever
the memory of the device is. What is counted are arguments, temporaries and outputs; the scratch space of convolutions is chosen
on a real GPU and not among them. Writes benchmarks/results/memory_<target>[_largest]_<platform>.json.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ar_seg_jax import build
from benchmarks import programs, report
from benchmarks.workload import Workload

BUDGETS = (16, 40, 80, 141)  # GB
USABLE = 0.95


def measure(path: Path, remat: bool, target: str, largest: bool) -> dict[str, Any]:
    """A row of the table."""
    config = programs.load(path)
    config['model'].update(remat=remat, dtype='bfloat16')
    method, mesh, sizes = build.method(config), programs.mesh(target), Workload.from_config(config)
    optimizer = build.transformation(config, method, steps=1)

    def compiled(batch: int):
        shape = (batch, sizes.side, sizes.side, sizes.channels)
        lowered, _ = programs.lower_step(method, optimizer, shape, on=mesh)
        return lowered.compile(programs.options(target))

    start = time.perf_counter()
    program = compiled(sizes.batch)
    row = {'config': path.stem, 'remat': remat, 'batch': sizes.batch, 'compile_seconds': time.perf_counter() - start}
    row |= {'peak_bytes': programs.peak_bytes(program), 'temporary_bytes': program.memory_analysis().temp_size_in_bytes}
    if largest:
        row['largest_batch'] = largest_batches(lambda batch: programs.peak_bytes(compiled(batch)), sizes.batch, row['peak_bytes'])
    return row


def largest_batches(peak: Callable[[int], int], batch: int, bytes_of_batch: int) -> dict[int, int]:
    """By budget in GB: images whose `peak` fits, with less than two to spare; 0 if not even one fits.

    Memory grows by nearly the same for each image, so a few guesses find the place.
    """
    per_image = (bytes_of_batch - peak(batch // 2)) / (batch - batch // 2)
    found = {}
    for budget in BUDGETS:
        usable = USABLE * budget * 1e9
        images, at = batch, bytes_of_batch
        while images and not 0 <= usable - at < 2 * per_image:
            images = max(0, images + math.floor((usable - at) / per_image))
            at = peak(images) if images else 0
        found[budget] = images
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', type=Path)
    parser.add_argument('--target', default='here', choices=programs.TARGETS)
    parser.add_argument('--largest', action='store_true')
    arguments = parser.parse_args()
    rows = []
    for path in arguments.configs:
        for remat in (False, True):
            rows.append(measure(path, remat, arguments.target, arguments.largest))
            print(rows[-1], file=sys.stderr)
    titles = ['config', 'remat', 'batch', 'peak, GB', 'temporaries, GB', 'compilation, s']
    titles += [f'largest in {budget} GB' for budget in BUDGETS if arguments.largest]
    cells = [
        (
            row['config'],
            'yes' if row['remat'] else 'no',
            str(row['batch']),
            f'{row["peak_bytes"] / 1e9:.1f}',
            f'{row["temporary_bytes"] / 1e9:.1f}',
            f'{row["compile_seconds"]:.0f}',
            *(str(images) for images in row.get('largest_batch', {}).values()),
        )
        for row in rows
    ]
    print(report.table(titles, cells))
    variant = arguments.target + ('_largest' if arguments.largest else '')
    report.save('memory', {'target': arguments.target, 'dtype': 'bfloat16', 'rows': rows}, variant)


if __name__ == '__main__':
    sys.exit(main())
