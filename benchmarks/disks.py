"""Small file systems in memory, filled or made read-only while a run writes to them: what takes the rights of root, and Linux."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def in_memory(place: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own at `place`, without its content afterwards."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={megabytes}m', 'tmpfs', place], check=True)
    try:
        yield
    finally:
        subprocess.run(['umount', place], check=True)


@contextlib.contextmanager
def full(run: Path) -> Iterator[None]:
    """The file system of a run's directory has no room at first; what the run removes makes some."""
    taken = run.parent / 'taken'
    try:
        with taken.open('wb', buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1000))
        yield
    finally:
        taken.unlink()


@contextlib.contextmanager
def read_only(run: Path) -> Iterator[None]:
    """What a run writes to is read-only, as far as it is there, but for its lock, which it has open."""
    parts = [run / part for part in ('checkpoints', 'pictures', 'tensorboard', 'metrics.jsonl')]
    with contextlib.ExitStack() as stack:
        for part in filter(Path.exists, parts):
            stack.enter_context(_read_only(part, run.parent / f'{part.name}.read_only'))
        yield


@contextlib.contextmanager
def _read_only(part: Path, elsewhere: Path) -> Iterator[None]:
    """A part that is read-only from one moment to the next.

    It becomes so `elsewhere`, where nobody opens a file: what is open for writing cannot be made read-only.
    """
    if part.is_dir():
        make, remove = elsewhere.mkdir, elsewhere.rmdir
    else:
        make, remove = elsewhere.touch, elsewhere.unlink
    make()
    try:
        with _bound(part, elsewhere):
            subprocess.run(['mount', '-o', 'remount,ro,bind', elsewhere], check=True)
            with _bound(elsewhere, part):
                yield
    finally:
        remove()


@contextlib.contextmanager
def _bound(source: Path, target: Path) -> Iterator[None]:
    subprocess.run(['mount', '--bind', source, target], check=True)
    try:
        yield
    finally:
        subprocess.run(['umount', '--lazy', target], check=True)  # a run may just have a file open there
