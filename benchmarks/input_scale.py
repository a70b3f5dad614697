"""Whether the input depends on how large a data set is: from preparation to the batches of a training that goes on.

    python -m benchmarks.input_scale [--counts 10000 100000 1000000] [--before 200000] [--files 10000 100000] \
      [--seconds 20] [--directory DIR]

For each of --counts so many images of 16 x 16 pixels, noise that does not compress, are prepared as ArrayRecord files in a
temporary directory; a million take 2.5 GB of disk while they are sorted and 1.4 GB then. Each row is measured in processes of its
own:

- the preparation;
- a training's first batch, shuffled, from before the prepared data is opened, and the images per second for --seconds after it;
- the same for trainings that go on at 90 % of the first epoch and of the second;
- trainings that come to these two places without interruption, from the first image or --before images ahead, whose batches there
  must have the same bits, and which must have no image twice in an epoch.

Memory is the most that a process ever held, with its libraries; seconds of a core are those of all its threads, whatever else the
machine does. For each of --files, so many empty files are made, and a config with their folder is read as at every start: names,
sizes and times are listed and hashed, to see whether a file changed. Writes benchmarks/results/input_scale_<platform>.json; the
exit status is 1 if batches differ.
"""

import argparse
import hashlib
import itertools
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ar_seg_jax import sharding
from ar_seg_jax.data import builder, folder
from ar_seg_jax.data.builder import SegmentationBuilder, SegmentationConfig
from ar_seg_jax.data.dataset import Dataset
from ar_seg_jax.training import memory
from benchmarks import elsewhere, report

SIDE, CROP, BATCH = 16, 12, 100  # pixels, pixels, images
PLACES = {'first batch': 0.0, 'at 90 % of the first epoch': 0.9, 'at 90 % of the second epoch': 1.9}
_COMPARED = 3  # batches at each place
_NOISE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
_LABEL = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)


class Numbered(SegmentationBuilder):
    """Images of noise to which their number is added, byte by byte; their labels say which pixel is which."""

    def _split_generators(self, dl_manager):
        return {'train': self._generate_examples(int(self.builder_config.name))}

    def _generate_examples(self, count: int):
        for index in range(count):
            yield builder.example(str(index), _NOISE + np.frombuffer(index.to_bytes(3, 'little'), np.uint8), _LABEL)


def made(directory: Path, count: int) -> Numbered:
    """The set of so many images, which is prepared if it is not there yet."""
    return builder.prepare(Numbered(config=SegmentationConfig(name=str(count), classes=()), data_dir=str(directory)))


def opened(directory: Path, count: int) -> Dataset:
    options = {'batch_size': BATCH, 'crop_size': CROP}
    return Dataset(made(directory, count), 'train', options, {}, sharding.make_mesh(), seed=0)


def prepare(directory: Path, count: int) -> dict[str, float]:
    """Seconds and peak memory of a preparation, and the bytes of its files."""
    watch = Watch()
    found = made(directory, count)
    seconds = watch.read()
    size = sum(path.stat().st_size for path in Path(found.data_dir).iterdir())
    return {**seconds, 'peak_bytes': memory.peak_bytes(), 'disk_bytes': size}


def start(directory: Path, count: int, place: float, seconds: float) -> dict[str, Any]:
    """A training that begins at a place, in epochs: seconds to its first batch, images per second, peak memory, and digests of
    batches."""
    watch = Watch()
    data = opened(directory, count)
    batches = data.training(first_step(count, place))
    found = [digest(next(batches))]
    to_first = watch.read()
    found += map(digest, itertools.islice(batches, _COMPARED - 1))
    watch, images = Watch(), 0
    while watch.read()['seconds'] < seconds:
        images += len(next(batches)['image'])
    rates = {f'images_per_{unit.removesuffix("s")}': images / spent for unit, spent in watch.read().items()}
    return {**to_first, **rates, 'peak_bytes': memory.peak_bytes(), 'digests': found}


def uninterrupted(directory: Path, count: int, place: float, before: int) -> dict[str, Any]:
    """A training that comes to a place from so many images before it, or from the first: its batches there, peak memory, and how
    often it had an image twice within an epoch."""
    last = first_step(count, place)
    first, seen = max(0, last - before // BATCH), {}
    found, numbered = [], np.arange(first, last + _COMPARED)
    for step, batch in zip(numbered, opened(directory, count).training(first), strict=False):
        if step >= last:
            found.append(digest(batch))
        for image, number in enumerate(numbers(batch), step * BATCH):
            seen.setdefault(image // count, np.zeros(count, np.int32))[number] += 1
    repeated = sum(int((times - 1).clip(0).sum()) for times in seen.values())
    return {'images': len(numbered) * BATCH, 'digests': found, 'repeated': repeated, 'peak_bytes': memory.peak_bytes()}


class Watch:
    """Begins when it is made."""

    def __init__(self):
        self._begin = self._now()

    def read(self) -> dict[str, float]:
        """Seconds since then, and those of cores that this process has used."""
        return {name: now - then for (name, now), then in zip(self._now().items(), self._begin.values(), strict=True)}

    @staticmethod
    def _now() -> dict[str, float]:
        return {'seconds': time.perf_counter(), 'core_seconds': time.process_time()}


def first_step(count: int, place: float) -> int:
    return round(place * count / BATCH)


def digest(batch: dict[str, np.ndarray]) -> str:
    """Of all bits of a batch."""
    return hashlib.sha256(b''.join(batch[part].tobytes() for part in sorted(batch))).hexdigest()


def numbers(batch: dict[str, np.ndarray]) -> np.ndarray:
    """Those of the images of a batch, from a pixel of each."""
    row, column = np.divmod(batch['label'][:, 0, 0], SIDE)
    digits = (batch['image'][:, 0, 0] - _NOISE[row, column]).astype(np.int64)
    return digits @ (1, 256, 65536)


def measure(directory: Path, count: int, seconds: float, before: int) -> dict[str, Any]:
    """A row of the table."""
    row: dict[str, Any] = {'count': count, 'preparation': elsewhere.call(prepare, directory, count)}
    row['starts'] = {name: elsewhere.call(start, directory, count, place, seconds) for name, place in PLACES.items()}
    row['uninterrupted'] = {
        name: elsewhere.call(uninterrupted, directory, count, place, before) for name, place in PLACES.items() if place
    }
    for name, found in row['uninterrupted'].items():
        found['same'] = row['starts'][name]['digests'] == found.pop('digests')
    for found in row['starts'].values():
        del found['digests']
    return row


def measure_folder(directory: Path, count: int) -> dict[str, float]:
    """Seconds of a start that are spent on the names, sizes and times of the files of a folder, and the memory that they take."""
    for index in range(count):
        path = directory / str(index // 1000) / f'{index}.png'
        if index % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.touch()
    before, watch = memory.peak_bytes(), Watch()
    found = folder.builder(data_dir=str(directory / 'prepared'), root=str(directory))
    seconds, grown = watch.read(), memory.peak_bytes() - before
    return {'files': len(found.builder_config.sources), **seconds, 'bytes': grown}


def tables(found: dict[str, Any]) -> Iterator[str]:
    """For the screen; in brackets are seconds of a core."""
    rows = [(row, row['starts'].values(), row['uninterrupted'].values()) for row in found['rows']]
    yield report.table(('images', *(f'{name}, s' for name in PLACES), 'images/s', 'of a core', 'peak, MB'), [
        (f'{row["count"]:,}', *map(seconds_of, starts), median(starts, 'images_per_second'),
         median(starts, 'images_per_core_second'), megabytes(starts))
        for row, starts, _ in rows
    ])  # fmt: skip
    titles = ('images', 'preparation, s', 'peak, MB', 'on the disk, MB')
    yield report.table((*titles, 'images without interruption', 'peak, MB', 'the same bits then', 'images twice'), [
        (f'{row["count"]:,}', seconds_of(row['preparation']), megabytes([row['preparation']]),
         f'{row["preparation"]["disk_bytes"] / 1e6:.0f}', ', '.join(f'{one["images"]:,}' for one in whole), megabytes(whole),
         str(all(one['same'] for one in whole)), str(sum(one['repeated'] for one in whole)))
        for row, _, whole in rows
    ])  # fmt: skip
    yield report.table(('files of a folder', 'listed and hashed, s', 'memory, MB'), [
        (f'{row["files"]:,}', seconds_of(row), f'{row["bytes"] / 1e6:.0f}') for row in found['folders']
    ])  # fmt: skip


def seconds_of(found: dict[str, float]) -> str:
    return f'{found["seconds"]:.2f} ({found["core_seconds"]:.2f})'


def median(found: Iterable[dict[str, float]], name: str) -> str:
    return f'{np.median([one[name] for one in found]):.0f}'


def megabytes(found: Iterable[dict[str, Any]]) -> str:
    return f'{max(one["peak_bytes"] for one in found) / 1e6:.0f}'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--counts', type=int, nargs='+', default=[10_000, 100_000, 1_000_000], help='of images; multiples of 1000'
    )
    parser.add_argument('--files', type=int, nargs='*', default=[10_000, 100_000], help='of a folder')
    parser.add_argument('--seconds', type=float, default=3, help='of counting images; default: %(default)s')
    parser.add_argument('--before', type=int, default=200_000, help='images before a place; default: %(default)s')
    parser.add_argument('--directory', type=Path, help='for the files meanwhile; default: a temporary one')
    arguments = parser.parse_args()
    found: dict[str, Any] = {'rows': [], 'folders': []}
    for count in arguments.counts:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
            found['rows'].append(measure(Path(directory), count, arguments.seconds, arguments.before))
        print(found['rows'][-1], file=sys.stderr)
    for count in arguments.files:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
            found['folders'].append(elsewhere.call(measure_folder, Path(directory), count))
    print('\n\n'.join(tables(found)))
    report.save('input_scale', found)
    whole = [one for row in found['rows'] for one in row['uninterrupted'].values()]
    return int(not all(one['same'] and not one['repeated'] for one in whole))


if __name__ == '__main__':
    sys.exit(main())
