"""A writer of files as torch.save makes them, opcode by opcode, for tests of what can be wrong in them."""

import io
import zipfile

MAGIC = b'\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.'
NONE, TRUE, FALSE = b'N', b'\x88', b'\x89'


def text(value: str) -> bytes:
    return b'X' + len(value.encode()).to_bytes(4, 'little') + value.encode()


def number(value: int) -> bytes:
    return b'\x8a\x09' + value.to_bytes(9, 'little', signed=True)


def sequence(*parts: bytes) -> bytes:
    return b'(' + b''.join(parts) + b't'


def dictionary(**items: bytes) -> bytes:
    return b'}(' + b''.join(text(name) + value for name, value in items.items()) + b'u'


def named(module: str, name: str) -> bytes:
    return f'c{module}\n{name}\n'.encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + sequence(*arguments) + b'R'


def storage(key: str, count: int, kind: str = 'FloatStorage', *more: bytes) -> bytes:
    return sequence(text('storage'), named('torch', kind), text(key), text('cpu'), number(count), *more) + b'Q'


def tensor(storage: bytes, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    places = number(offset), sequence(*map(number, shape)), sequence(*map(number, strides))
    hooks = call(named('collections', 'OrderedDict'))
    return call(named('torch._utils', '_rebuild_tensor_v2'), storage, *places, FALSE, hooks)


def program(content: bytes) -> bytes:
    return b'\x80\x02' + content + b'.'


def archive(content: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """The newer format; `more`: other entries of the archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', compression) as file:
        file.writestr('weights/data.pkl', program(content))
        for key, numbers in storages.items():
            file.writestr(f'weights/data/{key}', numbers)
        for name, other in more.items():
            file.writestr(f'weights/{name}', other)
    return stream.getvalue()


def legacy(content: bytes, storages: dict[str, tuple[int, bytes]], little: bytes = TRUE, protocol: int = 1001) -> bytes:
    """The older format; `storages`: numbers of elements, and the elements."""
    keys = b'](' + b''.join(map(text, storages)) + b'e'
    system = dictionary(protocol_version=number(protocol), little_endian=little)
    pickles = MAGIC + b''.join(map(program, (number(protocol), system, content, keys)))
    return pickles + b''.join(count.to_bytes(8, 'little') + numbers for count, numbers in storages.values())
