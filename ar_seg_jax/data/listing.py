"""Which files below a directory are images, and what they are called."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ar_seg_jax.data import images
from ar_seg_jax.data.limits import DataError


def find_images(directory: Path, suffixes: Sequence[str] = images.SUFFIXES) -> list[Path]:
    """What is called like an image below a directory, sorted, hidden ones left out; DataError if there is none.

    Links to nowhere and pipes are found too, so that whoever reads them says what is wrong with them.
    """
    found = files(directory, lambda name: name.lower().endswith(tuple(suffixes)))
    if not found:
        raise DataError(f'{directory}: no images found; expected files ending in {", ".join(suffixes)}')
    return found


def by_identifier(base: Path) -> dict[str, Path]:
    """The images below a directory by their paths from there, without endings; DataError if two differ in these only."""
    found: dict[str, Path] = {}
    for path in find_images(base):
        key = identifier(path, base)
        if key in found:
            raise DataError(f'{path}: same name as {found[key]} but for its ending; names of images must differ')
        found[key] = path
    return found


def files(directory: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """What is below a directory and called as wanted, sorted, without directories and what is hidden.

    DataError for a directory that may not be read. There may be a million files: with strings, and without asking about each of
    them, they are listed in half the time.
    """
    found = []
    for parent, directories, names in os.walk(directory, onerror=_refuse):
        directories[:] = [name for name in directories if not name.startswith('.')]
        place = Path(parent)
        found += [place / name for name in names if wanted(name) and not name.startswith('.')]
    return sorted(found, key=lambda path: path.parts)  # the order of paths


def _refuse(error: OSError):
    """What is not there has no files."""
    if not isinstance(error, FileNotFoundError):
        raise DataError(f'{error.filename}: cannot be read ({error.strerror}); allow it, or take it away') from error


def identifier(path: Path, base: Path) -> str:
    """The path of a file from a directory above it, without its ending."""
    return '/'.join((*path.parts[len(base.parts) : -1], path.stem))
