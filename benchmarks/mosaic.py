"""`predict` on a raster larger than memory: its time, its memory, a kill in the middle, and the polygons of the map.

    python -m benchmarks.mosaic --workdir RUN [--side 20000] [--small 10000]

The run is one of python -m ar_seg_jax.main whose images have three channels. A GeoTIFF of `side` x `side` pixels is made here,
in compressed tiles, of collages of textures under a light that changes from place to place, with a collar without data. It is
segmented once without a break; then again, killed with SIGKILL when half of its rows of windows are done, and gone on with: both
maps are compared byte by byte. A raster of `small` pixels a side says how the memory depends on the size. Then the map is turned
into polygons. Every call is a process of its own, and its memory is the most that the process ever had. Writes
benchmarks/results/mosaic_<side>_<platform>.json; the exit status is 1 if the maps differ.
"""

import argparse
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import photographs, prediction, report

_STRIP = 1024  # rows that are made at once
_LEAST = 64  # pixels of a polygon


def make(path: Path, side: int) -> int:
    """Writes a raster, and says how many bytes it has."""
    import rasterio

    pattern = photographs.mosaic(photographs.sources(None), 768).astype(np.float32)
    options = {'driver': 'GTiff', 'tiled': True, 'compress': 'deflate', 'zlevel': 1, 'BIGTIFF': 'IF_SAFER', 'nodata': 0}
    place = {'crs': 'EPSG:32633', 'transform': rasterio.Affine(0.5, 0, 4e5, 0, -0.5, 5.7e6)}
    with rasterio.open(path, 'w', height=side, width=side, count=3, dtype='uint8', **options, **place) as file:
        for top in range(0, side, _STRIP):
            rows, columns = np.arange(top, min(top + _STRIP, side)), np.arange(side)
            light = 0.85 + 0.15 * np.sin(rows[:, None] / 900) * np.cos(columns / 1100)
            strip = pattern[rows % len(pattern)][:, columns % len(pattern)] * light[..., None].astype(np.float32)
            strip = strip.clip(1, 255).astype(np.uint8)
            strip[rows[:, None] + columns < side // 4] = 0
            file.write(np.moveaxis(strip, 2, 0), window=((top, top + len(rows)), (0, side)))
    return path.stat().st_size


def kill_half_way(workdir: Path, source: Path, output: Path, side: int) -> dict[str, Any]:
    """Starts predict, and kills it when half of the rows of windows are done: how many, and its seconds."""
    from ar_seg_jax.prediction import tiling

    partial, half = output / f'.{source.stem}_labels.tif.partial', side // tiling.TILE // 2
    options = (f'--workdir={workdir}', f'--input={source}', f'--output={output}')
    line = [sys.executable, '-m', 'ar_seg_jax.predict', *options]
    start = time.perf_counter()
    process = subprocess.Popen(line, cwd=prediction.ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(partial.glob('*.npz'))) < half:
        time.sleep(0.01)
    process.kill()
    process.wait()
    return {'rows_done': len(list(partial.glob('*.npz'))), 'seconds': time.perf_counter() - start}


def polygonise(labels: Path, path: Path) -> dict[str, float]:
    """Seconds, and the peak of this process, of turning a map into polygons; their number and the bytes of their file."""
    from ar_seg_jax.data.classes import numbered
    from ar_seg_jax.prediction import polygons

    start = time.perf_counter()
    with polygons.opened(path, numbered('class', 255), _LEAST) as layers:
        count = layers.add(labels.name, labels)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {'seconds': time.perf_counter() - start, 'peak_bytes': peak, 'polygons': count, 'bytes': path.stat().st_size}


def measure(arguments: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Everything, with inputs and outputs in a directory meanwhile."""
    large, small = directory / 'large.tif', directory / 'small.tif'
    found: dict[str, Any] = {'bytes': make(large, arguments.side)}
    make(small, arguments.small)
    found['small'] = prediction.predict(arguments.workdir, small, directory / 'small')
    found['whole'] = prediction.predict(arguments.workdir, large, directory / 'whole')
    found['killed'] = kill_half_way(arguments.workdir, large, directory / 'killed', arguments.side)
    found['resumed'] = prediction.predict(arguments.workdir, large, directory / 'killed')
    whole, resumed = ((directory / name / 'large_labels.tif').read_bytes() for name in ('whole', 'killed'))
    found |= {'map_bytes': len(whole), 'same_bytes': whole == resumed}
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as process:
        found['polygons'] = process.submit(
            polygonise, directory / 'whole' / 'large_labels.tif', directory / 'areas.gpkg'
        ).result()
    return found


def show(found: dict[str, Any], arguments: argparse.Namespace):
    calls = {
        f'{arguments.small} x {arguments.small}': found['small'],
        f'{arguments.side} x {arguments.side}': found['whole'],
        f'the rest after a kill, with {found["killed"]["rows_done"]} rows of windows done': found['resumed'],
        f'{found["polygons"]["polygons"]} polygons': found['polygons'],
    }
    rows = [(name, f'{call["seconds"]:.0f}', f'{call["peak_bytes"] / 1e9:.2f}') for name, call in calls.items()]
    print(report.table(('raster', 'seconds', 'peak, GB'), rows))
    print(f'\nthe same bytes after the kill: {found["same_bytes"]}; raster {found["bytes"]} bytes, map {found["map_bytes"]}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--side', type=int, default=20_000, help='pixels; default: %(default)s')
    parser.add_argument('--small', type=int, default=10_000, help='pixels; default: %(default)s')
    parser.add_argument('--directory', type=Path, help='for the files meanwhile; default: a temporary one')
    arguments = parser.parse_args()
    arguments.workdir = arguments.workdir.absolute()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        found = measure(arguments, Path(directory))
    show(found, arguments)
    sizes = {name: getattr(arguments, name) for name in ('side', 'small')}
    report.save('mosaic', {**sizes, **found}, str(arguments.side))
    return int(not found['same_bytes'])


if __name__ == '__main__':
    sys.exit(main())
