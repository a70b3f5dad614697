"""Which images of a folder are in which split: splits.csv, a table (`csv_tables`) with the columns id and split.

It has a row for each image that is used; a split is called by letters, digits, _ and -.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from ar_seg_jax.data.csv_tables import Row, Table, listed
from ar_seg_jax.data.limits import DataError

_SPLIT = re.compile(r'[\w-]+')  # what TFDS understands, and can be part of the name of a file
_T = TypeVar('_T')


def read(path: Path, by_id: Mapping[str, Path], base: Path) -> dict[str, list[tuple[str, Path]]]:
    """Id and image of each split, in the order of the table; empty if there is no file `path`.

    Raises DataError with the line for what is no such table; and with the ids for those that are in two splits, in two rows, or
    none of the images `by_id`, which were found in `base`.
    """
    if not path.exists():
        return {}
    table = Table(path, ('id', 'split'))
    pairs = [(_identifier(table, row), split_of(table, row)) for row in table.rows]
    table.refuse_repeated((identifier for identifier, _ in dict.fromkeys(pairs)), 'ids are in two splits')
    table.refuse_repeated((identifier for identifier, _ in pairs), 'ids are in two rows')
    if missing := [identifier for identifier, _ in pairs if identifier not in by_id]:
        raise DataError(
            f'{path}: {len(missing)} ids have no image in {base}: {listed(missing)}. An id is the path of an image from '
            'there, without its ending'
        )
    return by_split((split, (identifier, by_id[identifier])) for identifier, split in pairs)


def split_of(table: Table, row: Row) -> str:
    """The split of a row; DataError if it cannot be called that."""
    found = row.fields['split']
    if not _SPLIT.fullmatch(found):
        raise table.wrong(row.line, f'a split is called by letters, digits, _ and -, found {found!r}')
    return found


def by_split(entries: Iterable[tuple[str, _T]]) -> dict[str, list[_T]]:
    """What each split has, in the order of the entries."""
    found: dict[str, list[_T]] = {}
    for split, entry in entries:
        found.setdefault(split, []).append(entry)
    return found


def _identifier(table: Table, row: Row) -> str:
    if not row.fields['id']:
        raise table.wrong(row.line, 'a row has an id')
    return row.fields['id']
