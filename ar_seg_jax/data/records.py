"""TFRecord files of `tf.train.Example`, compressed with GZIP or ZLIB, read without TensorFlow.

A record is its length (8 bytes), a CRC-32C of these, the payload and a CRC-32C of that. Only the first of the two sums is
checked: the second takes a second for a payload of 3 MB here, and the same bytes have a sum in the compressed file, which is
checked when it has been read to its end.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from jaxtyping import UInt8
from tensorboardX.record_writer import masked_crc32c
from tensorflow_datasets.proto import tf_feature_pb2

from ar_seg_jax.data import limits
from ar_seg_jax.data.limits import DataError

_MOST_BYTES = 2**40  # of a file, which is read in parts
_LONGEST = 2**26  # bytes of a record, twenty times those of CLEVR
_CHUNK = 2**20  # bytes that are read, or expanded, at once
_AUTOMATIC = zlib.MAX_WBITS | 32  # GZIP or ZLIB, as the file says
_FIELD = descriptor_pb2.FieldDescriptorProto
_ADVICE = 'fetch the file again'


def read(path: Path) -> Iterator[bytes]:
    """The payloads of a file, one after another. DataError if it is damaged, or ends too early."""
    limits.check_file(path, _MOST_BYTES)
    with limits.refusing(path, 'damaged TFRecord file', _ADVICE), path.open('rb') as file:
        stream, count = io.BufferedReader(_Expanded(file), _CHUNK), 0
        while header := stream.read(12):
            length, crc = struct.unpack('<QI', header)
            if masked_crc32c(header[:8]) != crc or length > _LONGEST:
                raise DataError(f'{path}: damaged TFRecord file, wrong length of record {count}; {_ADVICE}')
            payload = stream.read(length + 4)
            if len(payload) < length + 4:
                raise DataError(f'{path}: the file ends within record {count}; {_ADVICE}')
            yield payload[:-4]
            count += 1


class _Expanded(io.RawIOBase):
    """What a compressed file holds."""

    def __init__(self, file: IO[bytes]):
        self._file, self._decompressor, self._waiting = file, zlib.decompressobj(_AUTOMATIC), b''

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._decompressor.eof:
            self._waiting = self._waiting or self._file.read(_CHUNK)
            if not self._waiting:
                raise EOFError('the compressed data ends too early')
            expanded = self._decompressor.decompress(self._waiting, len(buffer))
            self._waiting = self._decompressor.unconsumed_tail
            if expanded:
                buffer[: len(expanded)] = expanded
                return len(expanded)
        return 0


class Example:
    """The features of a payload that was read from `path` as record number `index`."""

    def __init__(self, payload: bytes, path: Path, index: int):
        self._name = f'{path}: record {index}'
        try:
            entries = _EXAMPLE.FromString(payload).features.feature
        except DecodeError as error:
            raise DataError(f'{self._name}: not a tf.train.Example ({error}); {_ADVICE}') from error
        self._features = {entry.key: entry.value.bytes_list for entry in entries}

    def array(self, key: str, shape: tuple[int, ...]) -> UInt8[np.ndarray, '...']:
        """A feature of bytes as an array. DataError unless there are as many as the shape has.

        Each byte is a string of its own, encoded as the two bytes of _ONE and itself, or all of them are one string.
        """
        if key not in self._features:
            raise DataError(f'{self._name}: no feature {key!r}, found {sorted(self._features)}; is it another data set?')
        encoded, expected = np.frombuffer(self._features[key], np.uint8), int(np.prod(shape))
        triples = encoded.reshape(-1, 3) if encoded.size % 3 == 0 else np.zeros((0, 3), np.uint8)
        if triples.size and (triples[:, :2] == _ONE).all():
            content = triples[:, 2]
        else:
            content = np.frombuffer(b''.join(self._strings(key)), np.uint8)
        if content.size != expected:
            size = ' x '.join(map(str, shape))
            raise DataError(f'{self._name}: expected {size} bytes in {key!r}, found {content.size}; is it another data set?')
        return content.reshape(shape)

    def _strings(self, key: str) -> list[bytes]:
        try:
            return list(tf_feature_pb2.BytesList.FromString(self._features[key]).value)
        except DecodeError as error:
            raise DataError(f'{self._name}: {key!r} is no list of bytes ({error}); {_ADVICE}') from error


def _example_class() -> type:
    """`tf.train.Example` for features of bytes, but for one thing: the lists of strings stay encoded.

    A mask of CLEVR is a list of 844,800 strings of one byte, which protobuf would make as many objects of.
    """
    file = descriptor_pb2.FileDescriptorProto(name='ar_seg_jax/records.proto', package='ar_seg_jax', syntax='proto3')
    repeated = ('Features', 'feature')
    for message, fields in {
        'Example': [('features', 'Features')],
        'Features': [('feature', 'Entry')],
        'Entry': [('key', ''), ('value', 'Feature')],
        'Feature': [('bytes_list', '')],
    }.items():
        described = file.message_type.add(name=message)
        for number, (field, kind) in enumerate(fields, start=1):
            described.field.add(
                name=field,
                number=number,
                label=_FIELD.LABEL_REPEATED if (message, field) == repeated else _FIELD.LABEL_OPTIONAL,
                type=_FIELD.TYPE_MESSAGE if kind else _FIELD.TYPE_STRING if field == 'key' else _FIELD.TYPE_BYTES,
                type_name=f'.ar_seg_jax.{kind}' if kind else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName('ar_seg_jax.Example'))


_EXAMPLE = _example_class()
_ONE = np.array([0x0A, 1], np.uint8)  # field 1 of BytesList, of length 1
