"""Prepared data sets on the disk: which there are, who reads them, and how they are removed.

    <data_dir>/<data set>/<variant>/1.0.0/                     a prepared data set, see `builder`
    <data_dir>/<data set>/<variant>/incomplete.ABC123_1.0.0/   one that is being prepared, or was when its process was killed
    <data_dir>/<data set>/<variant>/1.0.0/sources.json         the files that it was made of, where these are known
    <data_dir>/<data set>/<variant>/1.0.0/checksums.json       of what TFDS says of it; records have their own
    <data_dir>/<data set>/<variant>/.1.0.0.lock                locked while it is prepared
    <data_dir>/<data set>/<variant>/.1.0.0.readers             locked, together, by all that read it

Locks end with their processes, and their files stay, since others may be waiting for them. No link is followed.
"""

import contextlib
import json
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from ar_seg_jax import files
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.errors import UserError

PURPOSE = 'for unsupervised segmentation'  # which the descriptions of our data sets say

_NAME = re.compile(r'(?P<killed>incomplete\.[A-Z0-9]{6}_)?(?P<version>\d+\.\d+\.\d+)')  # TFDS's
_VARIANT = re.compile(r'[\w.-]+-[0-9a-f]{12}')  # what `builder.config_name` gives
_SOURCES, _CHECKSUMS = 'sources.json', 'checksums.json'
_DESCRIPTIONS = ('dataset_info.json', 'features.json', 'metadata.json')  # TFDS's, where no sum tells damage
_TOLD = 3  # files of each kind in a message
_read: dict[Path, IO[str]] = {}  # locks of what this process reads, which end with it


Source = tuple[str, int, int]  # name, size in bytes, and time of a file


class Prepared(NamedTuple):
    """A directory with prepared data, or with the remains of a preparation that was `killed`; what it takes, in bytes."""

    directory: Path
    killed: bool
    size: int

    @property
    def variant(self) -> tuple[str, str]:
        """The data set, and the name of its variant."""
        return self.directory.parts[-3], self.directory.parts[-2]


def found(data_dir: Path) -> list[Prepared]:
    """All that this package prepared below `data_dir`, or began to, in order of their names."""
    directories = [path for path in sorted(data_dir.glob('*/*/*')) if _is_ours(path)]
    return [Prepared(path, _is_killed(path), _size(path)) for path in directories]


def lock_to_prepare(directory: Path) -> IO[str]:
    """The lock of whoever prepares `directory`, once nobody else has it."""
    return files.lock(_lock_file(directory, 'lock'))


def lock_to_read(directory: Path, may_write: bool):
    """From now on, until this process ends, nobody removes this prepared data. Without effect where no lock can be made."""
    path = _lock_file(directory, 'readers')
    if path not in _read and (may_write or path.is_file()):
        with contextlib.suppress(OSError):
            _read[path] = files.lock(path, shared=True)


def stamps(paths: Iterable[Path]) -> list[Source]:
    """What changes when files change: names, sizes and times."""
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]


def write_sources(directory: Path, sources: Sequence[Source]):
    """Keeps the files that prepared data was made of, for `changes`."""
    if sources:
        files.write(directory / _SOURCES, json.dumps({path: stamp for path, *stamp in sources}).encode())


def write_checksums(directory: Path):
    """Keeps what `check` compares."""
    files.write(directory / _CHECKSUMS, json.dumps(_checksums(directory)).encode())


def check(directory: Path):
    """DataError, with its name, if what describes prepared data is not what was written: fewer examples, say, or other ranges.

    Data that is older than these checksums is not checked.
    """
    path, advice = directory / _CHECKSUMS, f'remove {directory} to prepare it again'
    if not path.exists():
        return
    expected, found = files.read_json(path, advice=advice), _checksums(directory)
    if differing := [name for name in _DESCRIPTIONS if expected.get(name) != found[name]]:
        raise DataError(f'{directory / differing[0]} is damaged: it is not what was written; {advice}')


def _checksums(directory: Path) -> dict[str, int | None]:
    """CRC-32 of each description; None where there is none."""
    paths = {name: directory / name for name in _DESCRIPTIONS}
    return {name: zlib.crc32(files.read(path)) if path.exists() else None for name, path in paths.items()}


def changes(directory: Path, before: str, sources: Sequence[Source]) -> str:
    """In words, which files are others than when the variant `before` of the same data set was prepared.

    directory: of what is prepared from `sources`, now or soon. '' if it is not known any more what that variant was made of.
    """
    place = directory.parents[1] / before / directory.name / _SOURCES
    if not _VARIANT.fullmatch(before) or not sources:
        return ''
    try:
        then = files.read_json(place)
    except (OSError, UserError):
        return ''
    now = {path: stamp for path, *stamp in sources}
    found = {
        'added': now.keys() - then.keys(),
        'removed': then.keys() - now.keys(),
        'changed': {path for path in now.keys() & then.keys() if now[path] != then[path]},
    }
    parts = [f'{len(paths)} {kind} ({_listed(sorted(paths))})' for kind, paths in found.items() if paths]
    return f'files: {", ".join(parts)}' if parts else 'no file, but its table of splits or classes, or how it is prepared'


def _listed(paths: Sequence[str]) -> str:
    return ', '.join(paths[:_TOLD]) + (', ...' if len(paths) > _TOLD else '')


def remove(directory: Path) -> bool:
    """Removes prepared data or remains; False, and nothing is removed, while somebody prepares or reads them."""
    with contextlib.ExitStack() as stack:
        try:
            for purpose in ('lock', 'readers'):
                stack.enter_context(files.lock(_lock_file(directory, purpose), wait=False))
        except BlockingIOError:
            return False
        if not _is_killed(directory):  # half of it must not pass for a data set
            aside = directory.with_name(f'incomplete.REMOVE_{directory.name}')
            shutil.rmtree(aside, ignore_errors=True)
            directory = directory.rename(aside)
        shutil.rmtree(directory)
    return True


def remove_remains(dataset: Path):
    """Removes what killed preparations left of all variants of a data set; what others must not be able to is left there."""
    for directory in dataset.glob('*/incomplete.*'):
        if _is_ours(directory) and _is_killed(directory):
            with contextlib.suppress(OSError):
                remove(directory)


def _lock_file(directory: Path, purpose: str) -> Path:
    return directory.with_name(f'.{_NAME.fullmatch(directory.name)["version"]}.{purpose}')


def _is_killed(directory: Path) -> bool:
    return bool(_NAME.fullmatch(directory.name)['killed'])


def _is_ours(directory: Path) -> bool:
    """Whether it is a directory of ours, and no part of its path below the data_dir a link."""
    named = _NAME.fullmatch(directory.name) and _VARIANT.fullmatch(directory.parent.name)
    if not named or any(path.is_symlink() for path in (directory, *directory.parents[:2])) or not directory.is_dir():
        return False
    if _is_killed(directory):
        return _lock_file(directory, 'lock').is_file()  # which only we make
    return _says_so(directory / 'dataset_info.json', directory.parts[-3])


def _says_so(path: Path, name: str) -> bool:
    """Whether a file of TFDS describes a data set of ours."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        match json.loads(path.read_bytes()) if path.is_file() else None:
            case {'name': str(found), 'description': str(description)}:
                return found == name and PURPOSE in description
    return False


def _size(directory: Path) -> int:
    return sum(path.lstat().st_size for path in _below(directory))


def _below(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)
