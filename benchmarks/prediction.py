"""`predict` from the command to its last file: many small images, and one large one in tiles.

    python -m benchmarks.prediction --workdir RUN [RUN ...] [--images DIR] [--count 1000] [--mosaic 6000] [--whole 1536]
    python -m benchmarks.prediction --workdir RUN [RUN ...] [--images DIR] [--count 1000] --parts 5

Runs are those of python -m ar_seg_jax.main, trained for long enough that their clusters are not all one, with and without
attention, say. Their inputs are made here: `count` crops, and a mosaic of the images of a directory (or of texture collages).
Every call of predict is a process of its own, so its seconds hold its start, reading and writing, and its memory is the most that
the process ever had.

Then the network labels `whole` pixels square of the mosaic at once and in tiles. The table has the share of pixels that differ,
and whether tiles have seams: how often labels change between the pixels on both sides of where two tiles meet, and at the same
places of the whole result.

With --parts nothing of this is done; instead a call over the crops is taken apart, as many times as it says, from run to run in
turn: what its parts take of the processor (`prediction_parts`), which says how fast it can become on so many cores.

Writes benchmarks/results/prediction_<runs>_<platform>.json.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import elsewhere, photographs, report, timing

ROOT = Path(__file__).parents[1]


def predict(workdir: Path, source: Path, output: Path) -> dict[str, float]:
    """Wall seconds and the peak of resident memory, bytes, of a call. Raises RuntimeError if it failed."""
    options = (f'--workdir={workdir}', f'--input={source}', f'--output={output}')
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, '-m', 'ar_seg_jax.predict', *options], cwd=ROOT, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise RuntimeError(f'predict ended with status {os.waitstatus_to_exitcode(status)}: {options}')
    return {'seconds': seconds, 'peak_bytes': used.ru_maxrss * 1024}  # which Linux counts in KiB


def parts(workdir: Path, source: Path, output: Path) -> dict[str, Any]:
    """Seconds of the parts of a call, see `prediction_parts`; they go through one image at a time."""
    options = (f'--workdir={workdir}', f'--input={source}', f'--output={output}')
    line = [sys.executable, '-m', 'benchmarks.prediction_parts', *options]
    return json.loads(subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)


def compare(workdir: Path, picture: photographs.Image) -> dict[str, Any]:
    """Labels of a picture in tiles and at once."""
    from ar_seg_jax.prediction import network

    trained = dataclasses.replace(network.load(workdir), rescale=1.0)  # the picture is taken to have the scale of the training
    whole, tiled = trained.scores(picture).argmax(-1), trained.in_tiles(picture)
    stride = trained.method.output_stride
    return {
        'pixels': whole.size,
        'clusters': len(np.unique(whole)),
        'differing': int((whole != tiled).sum()),
        'changes_at_seams': changes_at_seams(tiled, stride),
        'untiled_changes_there': changes_at_seams(whole, stride),
    }


def changes_at_seams(labels: np.ndarray, stride: int) -> int:
    """Pairs of pixels with different labels on both sides of where two tiles meet."""
    from ar_seg_jax.prediction import tiling

    total = 0
    for axis in (0, 1):
        after = np.array([span.first for span in tiling.spans(labels.shape[axis], stride)[1:]], int)
        total += int((labels.take(after, axis) != labels.take(after - 1, axis)).sum())
    return total


def measure(arguments: argparse.Namespace, directory: Path) -> list[dict[str, Any]]:
    """A row of the table for each run; inputs and outputs are kept in a directory meanwhile."""
    pictures = photographs.sources(arguments.images)
    small, large = _crops(pictures, arguments, directory), directory / 'mosaic.png'
    mosaic = photographs.mosaic(pictures, arguments.mosaic)
    Image.fromarray(mosaic).save(large, compress_level=1)
    return [
        {
            'run': workdir.name,
            'attention': json.loads((workdir / 'config.json').read_text())['model'].get('attention', False),
            'crops': predict(workdir, small, directory / f'crops_{number}'),
            'mosaic': predict(workdir, large, directory / f'mosaic_{number}'),
            # Elsewhere, since a process begins with the memory of the one that starts it.
            'tiles': elsewhere.call(compare, workdir, mosaic[: arguments.whole, : arguments.whole]),
        }
        for number, workdir in enumerate(arguments.workdir)
    ]


def take_apart(arguments: argparse.Namespace, directory: Path) -> list[dict[str, Any]]:
    """The medians of the parts of each run."""
    small = _crops(photographs.sources(arguments.images), arguments, directory)
    rounds = [
        [parts(workdir, small, directory / f'parts_{number}_{turn}') for number, workdir in enumerate(arguments.workdir)]
        for turn in range(arguments.parts)
    ]
    return [
        {'run': workdir.name, **timing.medians(found)}
        for workdir, found in zip(arguments.workdir, zip(*rounds, strict=True), strict=True)
    ]


def _crops(pictures: list[photographs.Image], arguments: argparse.Namespace, directory: Path) -> Path:
    small = directory / 'crops'
    small.mkdir()
    for index, crop in enumerate(photographs.crops(pictures, arguments.side, arguments.count)):
        Image.fromarray(crop).save(small / f'{index:06d}.png')
    return small


def show_parts(rows: list[dict[str, Any]]):
    for row in rows:
        each = sum(part['each'] for part in row['parts'].values())
        print(f'\n{row["run"]}: processor time of {row["images"]} images one at a time; a core makes {1 / each:.0f} a second\n')
        lines = [
            (name, f'{part["first"]:.3f}', f'{1000 * part["each"]:.2f}', f'{part["each"] / each:.0%}')
            for name, part in ({'starting and importing': {'first': row['imports'], 'each': 0.0}} | row['parts']).items()
        ]
        print(report.table(('part', 'once, or for the first image, s', 'for each further image, ms', 'of these'), lines))


def show(rows: list[dict[str, Any]], arguments: argparse.Namespace):
    print(f'{arguments.count} crops of {arguments.side} pixels; a mosaic of {arguments.mosaic} x {arguments.mosaic} pixels\n')
    titles = ('run', 'crops, images/s', 'peak, GB', 'mosaic, s', 'peak, GB', 'differing pixels', 'clusters', 'at seams (untiled)')
    cells = [
        (
            row['run'] + (' (attention)' if row['attention'] else ''),
            f'{arguments.count / row["crops"]["seconds"]:.1f}',
            f'{row["crops"]["peak_bytes"] / 1e9:.2f}',
            f'{row["mosaic"]["seconds"]:.1f}',
            f'{row["mosaic"]["peak_bytes"] / 1e9:.2f}',
            f'{row["tiles"]["differing"]} ({row["tiles"]["differing"] / row["tiles"]["pixels"]:.2%})',
            str(row['tiles']['clusters']),
            f'{row["tiles"]["changes_at_seams"]} ({row["tiles"]["untiled_changes_there"]})',
        )
        for row in rows
    ]
    print(report.table(titles, cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--workdir', nargs='+', type=Path, required=True)
    parser.add_argument('--images', type=Path, help='directory of images; default: collages of textures')
    parser.add_argument('--count', type=int, default=1000, help='crops; default: %(default)s')
    parser.add_argument('--side', type=int, default=200, help='of a crop, pixels; default: %(default)s')
    parser.add_argument('--mosaic', type=int, default=6000, help='side in pixels; default: %(default)s')
    parser.add_argument('--whole', type=int, default=1536, help='of the mosaic, labelled at once too; default: %(default)s')
    parser.add_argument('--parts', type=int, default=0, help='rounds in which calls are taken apart; default: none')
    arguments = parser.parse_args()
    arguments.workdir = [workdir.absolute() for workdir in arguments.workdir]
    name = '_'.join(workdir.name for workdir in arguments.workdir)
    with tempfile.TemporaryDirectory() as directory:
        if arguments.parts:
            rows = take_apart(arguments, Path(directory))
            show_parts(rows)
            report.save('prediction', {'side': arguments.side, 'rows': rows}, f'parts_{name}')
            return
        rows = measure(arguments, Path(directory))
    show(rows, arguments)
    sizes = {size: getattr(arguments, size) for size in ('count', 'side', 'mosaic', 'whole')}
    report.save('prediction', {**sizes, 'rows': rows}, name)


if __name__ == '__main__':
    sys.exit(main())
