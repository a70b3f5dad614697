"""The order of prepared examples, by a hash of their keys, found in bounded memory.

TFDS's own shuffler needs TensorFlow as soon as the examples of a split take 1 GB, and holds as much in memory. This one gives the
same order.
"""

import collections
import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from tensorflow_datasets.core import hashing, shuffle

from ar_seg_jax.data.limits import DataError

_BUCKETS_BITS = 10  # of a hash: a bucket, which is sorted in memory, has about a thousandth of a split
_BITS = 128  # of a hash
_MOST = 2**28  # bytes that wait in memory
_OVERHEAD = 150  # bytes of Python's objects for an example, besides its own
_HEAD = struct.Struct('<16sQ')  # hash and length of an example in a file


class Shuffler:
    """Takes keys and examples, each of them serialized, and gives them back in the order of the keys' hashes.

    What does not fit into memory waits in files of `dirpath`, one for each bucket of hashes, which are removed as they are read.
    This is what TFDS's `Writer` asks of a shuffler.
    """

    def __init__(
        self, dirpath: str | os.PathLike, hash_salt: str | bytes, disable_shuffling: bool = False, ignore_duplicates: bool = False
    ):
        if disable_shuffling or ignore_duplicates:
            raise NotImplementedError('prepared data is shuffled, and keys differ')
        self._hasher, self._directory = hashing.Hasher(hash_salt), Path(dirpath)
        self._waiting: dict[int, list[tuple[int, bytes]]] = collections.defaultdict(list)
        self._waiting_bytes = self.size = self.num_examples = 0

    @property
    def bucket_lengths(self) -> list[int]:
        """TFDS makes notes of what comes from where with it, which nobody reads."""
        return [self.num_examples]

    def add(self, key: str | bytes | int, data: bytes):
        """DataError if files are needed and cannot be written."""
        hashed = self._hasher.hash_key(key)
        self._waiting[hashed >> _BITS - _BUCKETS_BITS].append((hashed, data))
        self.size += len(data)
        self.num_examples += 1
        self._waiting_bytes += len(data) + _OVERHEAD
        if self._waiting_bytes > _MOST:
            self._write()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Hashes and examples, in order. Raises TFDS's DuplicatedKeysError for two with one key."""
        last: tuple[int | None, bytes] = None, b''
        for bucket in range(2**_BUCKETS_BITS):
            for found in sorted([*self._read(bucket), *self._waiting.pop(bucket, ())]):
                if found[0] == last[0]:
                    raise shuffle.DuplicatedKeysError(found[1], last[1])
                yield found
                last = found

    def _write(self):
        try:
            for bucket, examples in self._waiting.items():
                with self._path(bucket).open('ab') as file:
                    file.writelines(_HEAD.pack(hashed.to_bytes(16), len(data)) + data for hashed, data in examples)
        except OSError as error:
            raise DataError(f'{self._directory}: cannot write the prepared data ({error}); is the disk full?') from error
        self._waiting.clear()
        self._waiting_bytes = 0

    def _read(self, bucket: int) -> Iterator[tuple[int, bytes]]:
        with contextlib.suppress(FileNotFoundError), self._path(bucket).open('rb') as file:
            while head := file.read(_HEAD.size):
                hashed, length = _HEAD.unpack(head)
                yield int.from_bytes(hashed), file.read(length)
            self._path(bucket).unlink()

    def _path(self, bucket: int) -> Path:
        return self._directory / f'bucket_{bucket}.tmp'


@contextlib.contextmanager
def used_by_tfds():
    """TFDS prepares data with this shuffler meanwhile; it has no argument for another one."""
    own, shuffle.Shuffler = shuffle.Shuffler, Shuffler
    try:
        yield
    finally:
        shuffle.Shuffler = own
