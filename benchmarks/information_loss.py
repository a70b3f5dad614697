"""What the AC loss costs: beside the displacement convolution of IIC, in memory, and as a share of the training step.

    python -m benchmarks.information_loss --sizes small coco3 --convolution small --step small --rounds 5

Times the loss and its gradients by both score maps at the sizes of the paper's configs and of a small step (4 images of 128 x 128
pixels, 3 clusters). Maps of configs that leave pixels out are masked. `--convolution` names the sizes at which the joint is also
found as IIC finds it, by one convolution of a map with the other one, in JAX and, where there is one, in PyTorch: on a CPU that
takes seconds to minutes a run. `--batch` replaces the batch of all sizes, and `--step_batch` that of the training steps which
`--step` asks for; neither changes the shares. Where no step is measured, the loss is at most a share of it: a step takes longer
than its matrix products at the measured matmul rate, of which Winograd's are the fewest.

Prints two tables and writes benchmarks/results/information_loss[_batch_<batch>]_<platform>.json.
"""

import argparse
import dataclasses
import importlib.util
import os
import sys
from typing import Any

from benchmarks import report, timing
from benchmarks.workload import Workload

CONFIGS = ('coco3', 'coco15', 'potsdam3', 'potsdam6')
SIZES = ('small', *CONFIGS)
TORCH = importlib.util.find_spec('torch') is not None


def workload_of(size: str, batch: int, dtype: str) -> tuple[Workload, bool]:
    """The step, and whether its loss is masked. `batch` 0 leaves it as it is."""
    masked, workload = False, Workload()
    if size != 'small':
        config = importlib.import_module(f'configs.{size}').get_config().to_dict()
        masked, workload = config['pipeline']['mask_void'], Workload.from_config(config)
    return dataclasses.replace(workload, batch=batch or workload.batch, dtype=dtype), masked


def measure_loss(workload: Workload, masked: bool, convolve: bool, rounds: int) -> dict[str, Any]:
    """Seconds of the loss in its forms, the matmul rate, and the share of the step that the loss has at most."""
    import jax

    from benchmarks import limits, losses

    maps = losses.score_maps(workload)
    mask = losses.void_mask(workload) if masked else None
    contestants = [limits.matmul(workload.dtype), losses.package(workload, maps, mask)]
    if convolve:
        contestants.append(losses.convolution(workload, maps, mask))
    if TORCH:
        from benchmarks import pytorch_parts

        device = 'cuda' if jax.default_backend() == 'gpu' else 'cpu'
        given = losses.masked_maps(maps, mask)
        joints = ('box', 'convolution') if convolve else ('box',)
        contestants += [pytorch_parts.information_loss(given, workload.displacement, joint, device) for joint in joints]
    seconds = timing.interleave(contestants, rounds)
    loss, matmul = contestants[1], contestants[0]
    rate = matmul.facts['amount'] / seconds['matmul']['median']
    return {
        'workload': dataclasses.asdict(workload),
        'masked': masked,
        **loss.facts,
        'seconds': seconds,
        'times_loss': {name: spread['median'] / seconds['JAX']['median'] for name, spread in seconds.items() if name != 'matmul'},
        'matmul_rate': rate,
        'share_of_step_at_most': seconds['JAX']['median'] / (workload.flop_by_winograd / rate),
    }


def measure_share(workload: Workload, masked: bool, rounds: int) -> dict[str, Any]:
    """The share of a measured training step."""
    from benchmarks import losses
    from benchmarks.package_step import package_step

    step, _ = package_step(workload)
    mask = losses.void_mask(workload) if masked else None
    loss = dataclasses.replace(losses.package(workload, losses.score_maps(workload), mask), name='loss')
    seconds = timing.interleave([step, loss], rounds)
    share = seconds['loss']['median'] / seconds['JAX']['median']
    return {'batch': workload.batch, 'seconds': {'step': seconds['JAX'], 'loss': seconds['loss']}, 'share': share}


def memory_growth(workload: Workload) -> list[dict[str, float]]:
    """Temporary memory of the compiled loss at a quarter, half and all of the batch."""
    from benchmarks import losses

    rows = []
    for batch in sorted({max(1, workload.batch // part) for part in (4, 2, 1)}):
        smaller = dataclasses.replace(workload, batch=batch)
        size = losses.compile_loss(smaller).memory_analysis().temp_size_in_bytes
        scores = batch * workload.side**2 * workload.clusters
        rows.append({'batch': batch, 'temporary_bytes': size, 'bytes_per_score': size / scores})
    return rows


def show(results: dict[str, Any]):
    others = ('PyTorch, box', 'PyTorch, convolution')
    titles = (
        'size',
        'pixels x K',
        'loss, s',
        'quartiles, s',
        'convolution, JAX',
        'PyTorch, box',
        'PyTorch, convolution',
        'of step',
    )
    rows = []
    for size, measured in results.items():
        workload, seconds, times = Workload(**measured['workload']), measured['seconds']['JAX'], measured['times_loss']
        step = measured.get('step')
        rows.append(
            (
                size + (', masked' if measured['masked'] else ''),
                f'{workload.batch} x {workload.side} x {workload.side} x {workload.clusters}',
                f'{seconds["median"]:.4g}',
                report.quartiles(seconds),
                *(f'{times[name]:.4g} x' if name in times else '-' for name in ('convolution', *others)),
                f'{step["share"]:.2%}' if step else f'< {measured["share_of_step_at_most"]:.2%}',
            )
        )
    print(report.table(titles, rows), end='\n\n')
    titles = ('size', 'batch', 'temporary, MB', 'bytes a pixel and cluster')
    grown = [(size, row) for size, measured in results.items() for row in measured['memory']]
    print(
        report.table(
            titles,
            [
                (size, str(row['batch']), f'{row["temporary_bytes"] / 1e6:.2f}', f'{row["bytes_per_score"]:.2f}')
                for size, row in grown
            ],
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', nargs='+', default=SIZES, choices=SIZES, help='default: all')
    parser.add_argument('--convolution', nargs='*', default=('small',), choices=SIZES, help='default: small')
    parser.add_argument('--step', nargs='*', default=('small',), choices=SIZES, help='default: small')
    parser.add_argument('--batch', type=int, default=0, help="images; default: those of each config's step")
    parser.add_argument('--step_batch', type=int, default=0, help="images of the training steps; default: those of the config's")
    parser.add_argument('--dtype', default='float32', help='of the network and the matmul rate; default: %(default)s')
    parser.add_argument('--rounds', type=int, default=5, help='at least 2; default: %(default)s')
    arguments = parser.parse_args()
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # leaves PyTorch its memory; read when jax starts
    results = {}
    for size in arguments.sizes:
        workload, masked = workload_of(size, arguments.batch, arguments.dtype)
        results[size] = measure_loss(workload, masked, size in arguments.convolution, arguments.rounds)
        results[size]['memory'] = memory_growth(workload)
        if size in arguments.step:
            workload, _ = workload_of(size, arguments.step_batch or arguments.batch, arguments.dtype)
            results[size]['step'] = measure_share(workload, masked, arguments.rounds)
    show(results)
    variant = f'batch_{arguments.batch}' if arguments.batch else ''
    report.save('information_loss', {'rounds': arguments.rounds, 'sizes': results}, variant)


if __name__ == '__main__':
    sys.exit(main())
