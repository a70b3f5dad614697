"""`predict` on a raster larger than memory: its time, its memory, a kill in the middle, and the polygons of the map.

    python -m benchmarks.mosaic --workdir RUN [--side 20000] [--small 9600]

The run is one of python -m ar_seg_jax.main whose images have three channels. GeoTIFF files of `side` x `side` and of `small` x
`small` pixels are made here, in compressed tiles, of collages of textures under a light that changes from place to place, with a
corner without data. Both are segmented; together they say how time and memory depend on the size. The small one is segmented
again, killed with SIGKILL when half of its rows of windows are done, and gone on with: both maps are compared byte by byte. Its
map is turned into polygons. Every call is a process of its own; `cpu_seconds` are those of all its threads, whatever else
the machine does, and its memory is the most that the process ever had. Writes benchmarks/results/mosaic_<side>_<platform>.json;
the exit status is 1 if the maps differ.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ar_seg_jax.prediction.tiling import TILE
from benchmarks import elsewhere, photographs, report

ROOT = Path(__file__).parents[1]
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


def predict(workdir: Path, source: Path, output: Path, kill_at: int | None = None) -> dict[str, float]:
    """A call: seconds, and the peak of resident memory, bytes. Raises RuntimeError if it failed.

    kill_at: so many rows of windows that are finished when it is killed.
    """
    options = (f'--workdir={workdir}', f'--input={source}', f'--output={output}')
    partial = output / f'.{source.stem}_labels.tif.partial'
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, '-m', 'ar_seg_jax.predict', *options], cwd=ROOT, stderr=subprocess.DEVNULL)
    if kill_at:
        while len(list(partial.glob('*.npz'))) < kill_at:
            time.sleep(0.1)
        process.kill()
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != (-signal.SIGKILL if kill_at else 0):
        raise RuntimeError(f'predict ended with status {os.waitstatus_to_exitcode(status)}: {options}')
    return {
        'seconds': time.perf_counter() - start,
        'cpu_seconds': used.ru_utime + used.ru_stime,
        'peak_bytes': used.ru_maxrss * 1024,  # which Linux counts in KiB
        'rows_left': len(list(partial.glob('*.npz'))),
    }


def polygonise(labels: Path, path: Path) -> dict[str, float]:
    """The same of turning a map into polygons; their number, and the bytes of their file."""
    from ar_seg_jax.data.classes import numbered
    from ar_seg_jax.prediction import polygons

    start = time.perf_counter()
    with polygons.opened(path, numbered('class', 255), _LEAST) as layers:
        count = layers.add(labels.name, labels)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        'seconds': time.perf_counter() - start,
        'cpu_seconds': used.ru_utime + used.ru_stime,
        'peak_bytes': used.ru_maxrss * 1024,
        'polygons': count,
        'bytes': path.stat().st_size,
    }


def measure(arguments: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Everything, with inputs and outputs in a directory meanwhile."""
    large, small = directory / 'large.tif', directory / 'small.tif'
    whole, killed = directory / 'whole', directory / 'killed'
    # Another process makes them: what one has had in memory counts for those that it starts.
    found: dict[str, Any] = {'small_bytes': elsewhere.call(make, small, arguments.small)}
    found['small'] = predict(arguments.workdir, small, whole)
    found['killed'] = predict(arguments.workdir, small, killed, arguments.small // TILE // 2)
    found['resumed'] = predict(arguments.workdir, small, killed)
    found['same_bytes'] = len({(output / 'small_labels.tif').read_bytes() for output in (whole, killed)}) == 1
    found['polygons'] = elsewhere.call(polygonise, whole / 'small_labels.tif', directory / 'areas.gpkg')
    found['large_bytes'] = elsewhere.call(make, large, arguments.side)
    found['large'] = predict(arguments.workdir, large, whole)
    found['map_bytes'] = (whole / 'large_labels.tif').stat().st_size
    return found


def show(found: dict[str, Any], arguments: argparse.Namespace):
    calls = {
        f'{arguments.small} x {arguments.small} pixels': found['small'],
        f'killed with {found["killed"]["rows_left"]} rows of windows done': found['killed'],
        'gone on with': found['resumed'],
        f'its {found["polygons"]["polygons"]} polygons': found['polygons'],
        f'{arguments.side} x {arguments.side} pixels': found['large'],
    }
    rows = [
        (name, f'{call["seconds"]:.0f}', f'{call["cpu_seconds"]:.0f}', f'{call["peak_bytes"] / 1e9:.2f}')
        for name, call in calls.items()
    ]
    print(report.table(('', 'seconds', 'seconds of a core', 'peak, GB'), rows))
    print(f'\nthe same bytes after the kill: {found["same_bytes"]}')
    print(
        f'bytes of the large raster {found["large_bytes"]}, its map {found["map_bytes"]}, polygons {found["polygons"]["bytes"]}'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--side', type=int, default=20_000, help='pixels; default: %(default)s')
    parser.add_argument('--small', type=int, default=9600, help='pixels, more than are read whole; default: %(default)s')
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
