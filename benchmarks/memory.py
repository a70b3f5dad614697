"""Memory of the training step, and the largest batch that fits, from the compiler's own count.

    python -m benchmarks.memory configs/coco3.py configs/potsdam3.py --target h200 --largest
    python -m benchmarks.memory configs/coco3.py --devices 1 8 64

Compiles the step of each config, of any method, at its real size, in bfloat16 or --dtype, and with and without `model.remat` if
the model has it, for one device: an absent one (`programs.mesh`) or those that are here. Of several phases the one counts that
takes most. Nothing is allocated. `--largest` looks for the largest batch, to within an image or two, in 95 % of 16, 40, 80 and
141 GB (of 10^9 bytes; JAX takes 75 % unless XLA_PYTHON_CLIENT_MEM_FRACTION says more), whatever the memory of the device is.
What is counted are arguments, temporaries and outputs; the scratch space of convolutions is chosen on a real GPU and not among
them. Writes benchmarks/results/memory_<target>[_largest][_<variant>]_<platform>.json.

`--devices` compiles instead for so many simulated CPU devices with one image each, with the optimiser's state whole on each of
them and split over them (`optimizer.shard_state`), and writes benchmarks/results/memory_devices_<platform>.json.
"""

import argparse
import dataclasses
import itertools
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AxisType

from ar_seg_jax import build
from benchmarks import programs, report
from benchmarks.workload import image_shape

BUDGETS = (16, 40, 80, 141)  # GB
USABLE = 0.95


def measure(path: Path, remat: bool | None, target: str, dtype: str, largest: bool) -> dict[str, Any]:
    """A row of the table. remat: None for models that cannot."""
    config = with_options(programs.load(path), dtype, remat)
    method, mesh, (batch, *image) = build.method(config), programs.mesh(target), image_shape(config)
    optimizer = build.transformation(config, method, steps=1)

    def compiled(batch: int):
        """The program of the phase that takes most."""
        steps = (
            programs.lower_step(method, optimizer, (batch, *image), on=mesh, phase=phase)[0] for phase in method.phases or (None,)
        )
        return max((step.compile(programs.options(target)) for step in steps), key=programs.peak_bytes)

    start = time.perf_counter()
    program = compiled(batch)
    row = {'config': path.stem, 'remat': remat, 'batch': batch, 'compile_seconds': time.perf_counter() - start}
    row |= {'peak_bytes': programs.peak_bytes(program), 'temporary_bytes': program.memory_analysis().temp_size_in_bytes}
    if largest:
        row['largest_batch'] = largest_batches(lambda batch: programs.peak_bytes(compiled(batch)), batch, row['peak_bytes'])
    return row


def with_options(config: dict[str, Any], dtype: str, remat: bool | None = None) -> dict[str, Any]:
    """The config with these options of its model, where that has them."""
    given = {'dtype': dtype, 'remat': remat}
    return {**config, 'model': {**config['model'], **{name: given[name] for name in given if name in config['model']}}}


def measure_devices(path: Path, devices: int, shard_state: bool) -> dict[str, Any]:
    """A row of the table of `--devices`: bytes on one of them."""
    config = programs.load(path)
    method, (_, *image) = build.method(config), image_shape(config)
    optimizer = dataclasses.replace(build.transformation(config, method, steps=1), shard_state=shard_state)
    mesh = jax.make_mesh((devices,), ('data',), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    lowered, state = programs.lower_step(method, optimizer, (devices, *image), on=mesh)
    memory = lowered.compile(programs.UNRUN).memory_analysis()
    return {
        'config': path.stem,
        'devices': devices,
        'shard_state': shard_state,
        'parameter_bytes': sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.params)),
        'argument_bytes': memory.argument_size_in_bytes,
        'temporary_bytes': memory.temp_size_in_bytes,
    }


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


def print_devices(configs: Sequence[Path], counts: Sequence[int]):
    jax.config.update('jax_num_cpu_devices', max(counts))
    rows = []
    for path, devices, split in itertools.product(configs, counts, (False, True)):
        rows.append(measure_devices(path, devices, split))
        print(rows[-1], file=sys.stderr)
    titles = ('config', 'devices', 'state of the optimiser', 'parameters, MB', 'state and batch, MB', 'temporaries, MB')
    sizes = ('parameter_bytes', 'argument_bytes', 'temporary_bytes')
    cells = [
        (
            row['config'],
            str(row['devices']),
            'split' if row['shard_state'] else 'whole',
            *(f'{row[size] / 1e6:.0f}' for size in sizes),
        )
        for row in rows
    ]
    print(report.table(titles, cells))
    report.save('memory', {'rows': rows}, 'devices')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', type=Path)
    parser.add_argument('--target', default='here', choices=programs.TARGETS)
    parser.add_argument('--dtype', default='bfloat16', choices=('bfloat16', 'float32'))
    parser.add_argument('--variant', default='', help='of the name of the results, for another list of configs')
    parser.add_argument('--largest', action='store_true')
    parser.add_argument('--devices', type=int, nargs='+', default=[])
    arguments = parser.parse_args()
    if arguments.devices:
        print_devices(arguments.configs, arguments.devices)
        return
    rows = []
    for path in arguments.configs:
        for remat in (False, True) if 'remat' in programs.load(path)['model'] else (None,):
            rows.append(measure(path, remat, arguments.target, arguments.dtype, arguments.largest))
            print(rows[-1], file=sys.stderr)
    titles = ['config', 'remat', 'batch', 'peak, GB', 'temporaries, GB', 'compilation, s']
    titles += [f'largest in {budget} GB' for budget in BUDGETS if arguments.largest]
    cells = [
        (
            row['config'],
            {None: '-', False: 'no', True: 'yes'}[row['remat']],
            str(row['batch']),
            f'{row["peak_bytes"] / 1e9:.2f}',
            f'{row["temporary_bytes"] / 1e9:.2f}',
            f'{row["compile_seconds"]:.0f}',
            *(str(images) for images in row.get('largest_batch', {}).values()),
        )
        for row in rows
    ]
    print(report.table(titles, cells))
    variant = '_'.join(filter(None, (arguments.target, 'largest' * arguments.largest, arguments.variant)))
    report.save('memory', {'target': arguments.target, 'dtype': arguments.dtype, 'rows': rows}, variant)


if __name__ == '__main__':
    sys.exit(main())
