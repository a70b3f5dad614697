"""Files of our own: written whole or not at all, locked, and read with care."""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ar_seg_jax.errors import UserError


def expanded(path: str | Path) -> Path:
    """With the home directory in place of ~; UserError where nobody knows it, as in a container of a user without an account."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f'{path}: there is no home directory ({error}); give a full path, or set HOME') from error


def write(path: Path, content: bytes):
    """Writes beside the file and renames, so that no half file is left and no symbolic link is followed; umask counts."""
    beside = path.with_name(f'.{secrets.token_hex(8)}.partial')
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open('xb') as file:
                file.write(content)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def append(path: Path, content: bytes):
    """Writes at the end of the file, which is made where there is none: everything or, if that fails, nothing.

    OSError if the path is a link, or no regular file.
    """
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(_plain(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 'ab', buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(before)
                raise


def read(path: Path) -> bytes:
    """All of a file; OSError if the path is a link, or no regular file."""
    with _named(path), os.fdopen(_plain(path, os.O_RDONLY), 'rb') as file:
        return file.read()


def require_plain(directory: Path):
    """UserError if a directory is a link, or anything in it neither a directory nor a regular file, as a link or a pipe is."""
    if directory.is_symlink():
        raise UserError(f'{directory} is a link, which is not read; put the directory itself there')
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                require_plain(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                kind = 'a link' if entry.is_symlink() else 'no regular file'
                raise UserError(f'{entry.path} is {kind}, which is not read; put the file itself there')


def _plain(path: Path, flags: int) -> int:
    """The descriptor of a regular file that is opened without following a link, or waiting for a pipe."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        words = {errno.ELOOP: 'a link, which is not followed', errno.ENXIO: 'a pipe that nobody reads'}.get(error.errno)
        if not words:
            raise
        raise OSError(error.errno, f'expected a regular file, found {words}; put the file itself there') from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, 'expected a regular file, found a pipe or a device; put a file there')
    return descriptor


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the operating system have the name of the file, which those about a full disk lack."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(path: Path, content: Any):
    write(path, as_json(content))


def as_json(content: Any) -> bytes:
    return json.dumps(content, indent=1).encode()


def parse_json(place: str, text: str | bytes, advice: str) -> dict[str, Any]:
    """The JSON object in `text`, which anybody may have written; UserError, with `place` and `advice`, for anything else."""
    try:
        content = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UserError(f'{place}: not JSON ({error}); {advice}') from error
    if not isinstance(content, dict):
        raise UserError(f'{place}: expected a JSON object, found {type(content).__name__}; {advice}')
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; ValueError if it has a key twice, of which all but the last would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f'the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice')
    return found


def read_json(path: Path, *keys: str, advice: str = 'restore it from a copy') -> dict[str, Any]:
    """A JSON object with at least these keys; UserError for anything else that is in the file, FileNotFoundError without one."""
    if not path.is_file():  # nor a pipe, which would be waited for
        raise FileNotFoundError(2, 'no such file', str(path))
    content = parse_json(str(path), path.read_bytes(), advice)
    if missing := [key for key in keys if key not in content]:
        raise UserError(f'{path}: expected an object with {", ".join(keys)}, which lacks {", ".join(missing)}; {advice}')
    return content


def lock(path: Path, wait: bool = True, shared: bool = False) -> IO[str]:
    """The open lock file at `path`, held until it is closed; BlockingIOError if another process has it and this must not wait.

    A process that dies leaves no lock behind, since the operating system holds it, and not the file. Any number of processes have
    a `shared` lock at once, for which a file that is there is only read. OSError if the path is a link.
    """
    reads = shared and path.is_file()
    flags = os.O_RDONLY if reads else os.O_RDWR | os.O_APPEND | os.O_CREAT
    if not reads:
        path.parent.mkdir(parents=True, exist_ok=True)
    file = os.fdopen(os.open(path, flags | os.O_NOFOLLOW, 0o666), 'r' if reads else 'a+')
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        file.close()
        raise
    return file


def is_at(file: IO, path: Path) -> bool:
    """Whether an open file is still the one at `path`, which was neither removed nor replaced."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False
