"""Which files below a directory are images."""

from collections.abc import Sequence
from pathlib import Path

from ar_seg_jax.data import images
from ar_seg_jax.data.limits import DataError


def find_images(directory: Path, suffixes: Sequence[str] = images.SUFFIXES) -> list[Path]:
    """What is called like an image below a directory, sorted, hidden ones left out; DataError if there is none.

    Links to nowhere and pipes are found too, so that whoever reads them says what is wrong with them.
    """
    found = sorted(
        path
        for path in directory.rglob('*')
        if path.suffix.lower() in suffixes and not path.is_dir() and not is_hidden(path, directory)
    )
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


def identifier(path: Path, base: Path) -> str:
    """The path of a file from a directory, without its ending."""
    return path.relative_to(base).with_suffix('').as_posix()


def is_hidden(path: Path, base: Path) -> bool:
    """Whether it, or a directory on the way to it, is."""
    return any(part.startswith('.') for part in path.relative_to(base).parts)
