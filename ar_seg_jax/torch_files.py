"""Tensors out of files of torch.save, without torch and without running what their pickles say.

A pickle is a program that may call anything. The one that reads it here knows the few names that plain tensors need, all of which
give descriptions of tensors and nothing else; every other name ends the reading. What is described is checked against the bytes
that the file has, and copied.

Two formats: a zip archive (since torch 1.6) with data.pkl and one entry of raw bytes for each storage, and the older sequence of
pickles that is followed by the storages.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from ar_seg_jax.errors import UserError

Arrays = dict[str, np.ndarray]

_DTYPES: Mapping[str, np.dtype] = {
    'FloatStorage': np.dtype('<f4'),
    'HalfStorage': np.dtype('<f2'),
    'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
    'DoubleStorage': np.dtype('<f8'),
    'LongStorage': np.dtype('<i8'),
    'IntStorage': np.dtype('<i4'),
    'ShortStorage': np.dtype('<i2'),
    'CharStorage': np.dtype('i1'),
    'ByteStorage': np.dtype('u1'),
    'BoolStorage': np.dtype('?'),
}
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LEGACY_BEGINNING = b'\x80\x02\x8a\x0a' + _LEGACY_MAGIC.to_bytes(10, 'little')
_MEMO_OPCODES = ('PUT', 'BINPUT', 'LONG_BINPUT')
_MOST_LEVELS, _MOST_TENSORS = 20, 100_000
_ADVICE = 'save the weights alone, with torch.save(model.state_dict(), ...), or take a .safetensors file'


class Content(NamedTuple):
    """arrays: by the keys that lead to them, with '.' between. others: keys of what are no tensors, such as the epoch."""

    arrays: Arrays
    others: list[str]


class _Storage(NamedTuple):
    key: str
    dtype: str  # a name of _DTYPES
    count: int  # of its elements


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> Content:
    """The tensors of a file of either format; UserError for any other, for a damaged one, and for one with other objects."""
    if not path.is_file():
        raise UserError(f'{path}: no such file')
    data = path.read_bytes()
    try:
        if data.startswith(b'PK\x03\x04'):
            tree, storages = _zip(data)
        elif data.startswith(_LEGACY_BEGINNING):
            tree, storages = _legacy(data)
        else:
            raise UserError('neither of the formats of torch.save')
        return _content(tree, storages, limit=2 * len(data))
    except UserError as error:
        raise UserError(f'{path}: {error}') from error
    except Exception as error:  # whatever the parsers of zip and pickle do not foresee in a damaged file
        raise UserError(f'{path}: cannot be read ({type(error).__name__}: {error}); fetch it again') from error


def _zip(data: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise UserError(f'an archive with compressed entries, which torch.save does not make; {_ADVICE}')
    if sum(entry.file_size for entry in entries.values()) > len(data):
        raise UserError('an archive whose entries are larger than the file; fetch it again')
    roots = [name.removesuffix('data.pkl') for name in entries if name.endswith('/data.pkl') and name.count('/') == 1]
    if len(roots) != 1:
        raise UserError(f'an archive with {len(roots)} data.pkl, expected one; fetch the file again')
    if f'{roots[0]}byteorder' in entries and archive.read(f'{roots[0]}byteorder') != b'little':
        raise UserError('the bytes of its numbers are not in the order little; save it on another machine')
    reader = _Unpickler(io.BytesIO(archive.read(f'{roots[0]}data.pkl')))
    tree = reader.load_checked()
    storages = {key: _numbers(storage, archive.read(f'{roots[0]}data/{key}')) for key, storage in reader.storages.items()}
    return tree, storages


def _legacy(data: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    stream = io.BytesIO(data)
    magic, protocol, system = (_Unpickler(stream).load_checked() for _ in range(3))
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL or not isinstance(system, dict):
        raise UserError('an unknown version of the older format of torch.save')
    if system.get('little_endian') is not True:
        raise UserError('the bytes of its numbers are not in the order little; save it on another machine')
    reader = _Unpickler(stream)
    tree = reader.load_checked()
    keys = _Unpickler(stream).load_checked()
    if not isinstance(keys, list) or sorted(keys) != sorted(reader.storages):
        raise UserError('the storages that it has are not those of its tensors; fetch it again')
    storages = {}
    for key in keys:
        storage = reader.storages[key]
        count = int.from_bytes(stream.read(8), 'little', signed=True)
        if count != storage.count:
            raise UserError(f'the storage {key!r} has {count} elements instead of {storage.count}; fetch it again')
        storages[key] = _numbers(storage, stream.read(count * _DTYPES[storage.dtype].itemsize))
    return tree, storages


def _numbers(storage: _Storage, content: bytes) -> np.ndarray:
    dtype = _DTYPES[storage.dtype]
    if len(content) != storage.count * dtype.itemsize:
        raise UserError(
            f'the storage {storage.key!r} has {len(content)} bytes, expected {storage.count * dtype.itemsize}; fetch it again'
        )
    return np.frombuffer(content, dtype)


class _Unpickler(pickle.Unpickler):
    """Knows the names of dictionaries, tensors and their storages; UserError for all others. What it builds is inert."""

    def __init__(self, stream: io.BytesIO):
        super().__init__(stream)
        self.stream = stream
        self.storages: dict[str, _Storage] = {}

    def load_checked(self) -> Any:
        """The next object of the stream.

        The memo of the unpickler is an array as long as its largest index, which pickles count up from 0: one that jumps would
        take any amount of memory.
        """
        begin = self.stream.tell()
        for number, (opcode, argument, _) in enumerate(pickletools.genops(self.stream)):
            if opcode.name in _MEMO_OPCODES and argument > number:
                raise UserError(f'a pickle that no program of torch has written; {_ADVICE}')
        self.stream.seek(begin)
        return self.load()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('collections', 'OrderedDict'):
            return OrderedDict
        if module == 'torch' and name in _DTYPES:
            return name
        if module == 'torch._utils' and name in _REBUILDERS:
            return _REBUILDERS[name]
        raise UserError(f'it holds {module}.{name}, which is no part of plain weights and is not run; {_ADVICE}')

    def persistent_load(self, pid: Any) -> _Storage:
        """('storage', type, key, device, count), in the older format with the part of another storage that it is, or None."""
        match pid:
            case ('storage', str(dtype), str(key), str(), int(count)) | (
                'storage',
                str(dtype),
                str(key),
                str(),
                int(count),
                None,
            ):
                storage = _Storage(key, dtype, count)
            case _:
                raise UserError(f'a storage of an unknown form; {_ADVICE}')
        if dtype not in _DTYPES or count < 0 or self.storages.setdefault(key, storage) != storage:
            raise UserError(f'the storage {key!r} is not what it can be; fetch the file again')
        return storage


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_unused: Any) -> _Tensor:
    """A description of a view that stays within its storage; whether it wants gradients, and hooks, are left out."""
    numbers = [offset, *shape, *strides]
    if not isinstance(storage, _Storage) or not all(type(number) is int and number >= 0 for number in numbers):
        raise UserError(f'a tensor of an unknown form; {_ADVICE}')
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > storage.count or (0 not in shape and last >= storage.count):
        raise UserError(f'a tensor of shape {tuple(shape)} does not lie within its storage {storage.key!r}; {_ADVICE}')
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: Any, *_unused: Any) -> Any:
    return tensor


_REBUILDERS: Mapping[str, Callable] = {'_rebuild_tensor_v2': _rebuild_tensor, '_rebuild_parameter': _rebuild_parameter}


def _content(tree: Any, storages: Mapping[str, np.ndarray], limit: int) -> Content:
    """Copies of the tensors of nested dictionaries; UserError if they take more than `limit` bytes."""
    arrays, others, size = {}, [], 0
    for name, leaf in _leaves(tree):
        if not isinstance(leaf, _Tensor):
            others.append(name)
            continue
        if name in arrays:
            raise UserError(f'two tensors are called {name!r}; {_ADVICE}')
        size += math.prod(leaf.shape) * _DTYPES[leaf.storage.dtype].itemsize
        if size > limit or len(arrays) == _MOST_TENSORS:
            raise UserError(f'its tensors share storages so often that they would take far more than the file; {_ADVICE}')
        arrays[name] = _copied(leaf, storages[leaf.storage.key])
    if not arrays:
        raise UserError(f'no tensors in dictionaries; {_ADVICE}')
    return Content(arrays, others)


def _leaves(tree: Any, name: str = '', level: int = 0) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        yield name, tree
        return
    if level == _MOST_LEVELS:
        raise UserError(f'dictionaries in dictionaries, more than {_MOST_LEVELS} of them; {_ADVICE}')
    for key, value in dict.items(tree):
        yield from _leaves(value, f'{name}.{key}' if name else str(key), level + 1)


def _copied(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    if 0 in tensor.shape:
        return np.empty(tensor.shape, numbers.dtype)
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False).copy()
