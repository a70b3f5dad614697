"""Files of our own: written whole or not at all, locked, and read with care."""

import contextlib
import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ar_seg_jax.errors import UserError


def write(path: Path, content: bytes):
    """Writes beside the file and renames, so that no half file is left and no symbolic link is followed."""
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix='.', suffix='.partial', delete=False) as beside:
            try:
                beside.write(content)
                beside.close()
                Path(beside.name).chmod(0o644)  # that of a temporary file is for its owner only
                Path(beside.name).replace(path)
            finally:
                Path(beside.name).unlink(missing_ok=True)


def append(path: Path, content: bytes):
    """Writes at the end of the file, which is made where there is none: everything or, if that fails, nothing."""
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open('ab', buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(before)
                raise


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
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f'{place}: not JSON ({error}); {advice}') from error
    if not isinstance(content, dict):
        raise UserError(f'{place}: expected a JSON object, found {type(content).__name__}; {advice}')
    return content


def read_json(path: Path, *keys: str, advice: str = 'restore it from a copy') -> dict[str, Any]:
    """A JSON object with at least these keys; UserError for anything else that is in the file, FileNotFoundError without one."""
    if not path.is_file():  # nor a pipe, which would be waited for
        raise FileNotFoundError(2, 'no such file', str(path))
    content = parse_json(str(path), path.read_bytes(), advice)
    if missing := [key for key in keys if key not in content]:
        raise UserError(f'{path}: expected an object with {", ".join(keys)}, which lacks {", ".join(missing)}; {advice}')
    return content


def lock(path: Path, wait: bool = True) -> IO[str]:
    """The open lock file at `path`, held until it is closed; BlockingIOError if another process has it and this must not wait.

    A process that dies leaves no lock behind, since the operating system holds it, and not the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open('a+')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        file.close()
        raise
    return file
