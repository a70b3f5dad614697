"""What is computed once for each example of a split and kept beside it: <prepared data>/<name>-<digest of split>.array_record."""

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from array_record.python.array_record_module import ArrayRecordWriter

from ar_seg_jax.data import pipeline, prepared
from ar_seg_jax.data.array_records import ArrayRecords
from ar_seg_jax.data.builder import SegmentationBuilder
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import Guard

_logger = logging.getLogger(__name__)

_SECONDS = 30.0  # between two lines about how far it is


class Part(NamedTuple):
    """What is computed for each example.

    key: of the example in which `pipeline.decode` finds it. title: in messages, such as 'superpixels of 64 pixels'. name: of its
    file, which says all that the content depends on, but for the split. compute: gives it for all examples, in order, as bytes.
    """

    key: str
    title: str
    name: str
    compute: Callable[[Sequence[pipeline.Example]], Iterable[bytes]]


def source(builder: SegmentationBuilder, split: str, parts: Sequence[Part], guard: Guard = iter) -> Sequence[pipeline.Example]:
    """The examples of a split as `pipeline.source` has them, with these parts.

    Each is computed if it is not there yet. Of several processes one does that, and the others wait. `guard` is around what is
    computed, and around the wait. DataError if a file cannot be written, is damaged, or is of another number of examples.
    """
    plain = pipeline.source(builder, split)
    digest = hashlib.sha256(split.encode()).hexdigest()[:8]
    found = plain
    for part in parts:
        path = Path(builder.data_dir, f'{part.name}-{digest}.array_record')
        if not path.exists():
            _compute(plain, path, part, guard)
        found = _WithPart(found, path, part)
    return found


def _compute(examples: Sequence[pipeline.Example], path: Path, part: Part, guard: Guard):
    with _lock(path, part, guard):
        if not path.exists():
            _logger.info('Computing %s for %d examples, in %s', part.title, len(examples), path)
            _write(path, part, _announced(guard(part.compute(examples)), len(examples)))


def _lock(path: Path, part: Part, guard: Guard) -> IO[str]:
    try:
        return next(guard(map(prepared.lock_to_prepare, [path.parent])))  # an item, so that who waits for it can leave
    except OSError as error:
        raise DataError(
            f'{path}: cannot write the {part.title} here ({error}); set --config.data.data_dir to where that is possible'
        ) from error


def _write(path: Path, part: Part, records: Iterable[bytes]):
    """Beside the file first, so that no half file is left, and always there, so that those who are killed leave one at most."""
    partial = path.with_name(f'.{path.name}.partial')
    try:
        with _told(path, part):
            partial.unlink(missing_ok=True)
            writer = ArrayRecordWriter(str(partial), 'group_size:1')
        for record in records:
            with _told(path, part):
                writer.write(record)
        with _told(path, part):
            writer.close()
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _told(path: Path, part: Part) -> Iterator[None]:
    """DataError for what goes wrong with the file; RuntimeError is ArrayRecord's."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise DataError(f'{path}: cannot write the {part.title} ({error}); is the disk full, or read-only?') from error


def _announced(records: Iterable[bytes], count: int) -> Iterator[bytes]:
    """The same, and from time to time how far they are."""
    told = time.monotonic()
    for number, record in enumerate(records):
        if time.monotonic() - told > _SECONDS:
            told = time.monotonic()
            _logger.info('%d of %d examples', number, count)
        yield record


class _WithPart(Sequence):
    """Examples with what a file has for each of them."""

    def __init__(self, examples: Sequence[pipeline.Example], path: Path, part: Part):
        self._examples, self._path, self._key = examples, path, part.key
        self._records = ArrayRecords(str(path))
        if len(self._records) != len(examples):
            raise DataError(f'{path}: {part.title} for {len(self._records)} examples, expected {len(examples)}; remove the file')

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> pipeline.Example:
        try:
            return {**self._examples[index], self._key: self._records[index]}
        except RuntimeError as error:  # of ArrayRecord
            raise DataError(f'{self._path}: example {index} is damaged ({error}); remove the file') from error
