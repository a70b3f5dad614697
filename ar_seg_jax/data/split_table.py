"""Which images of a folder are in which split: splits.csv, as people and spreadsheets write it.

    id,split        a header with the columns id and split, in any case and order, others being ignored
    a,train         a row for each image that is used; a split is called by letters, digits, _ and -
    b,val

Fields are separated by commas or semicolons, with or without quotation marks, blanks around them, a byte order mark, and empty
lines.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ar_seg_jax.data import limits
from ar_seg_jax.data.limits import DataError

_COLUMNS = ('id', 'split')
_SPLIT = re.compile(r'[\w-]+')  # what TFDS understands, and can be part of the name of a file
_TOLD = 10  # ids in a message


class _Row(NamedTuple):
    identifier: str
    split: str


def read(table: Path, by_id: Mapping[str, Path], base: Path) -> dict[str, list[tuple[str, Path]]]:
    """Id and image of each split, in the order of the table; empty if there is no file `table`.

    Raises DataError with the line for what is no such table; and with the ids for those that are in two splits, in two rows, or
    none of the images `by_id`, which were found in `base`.
    """
    if not table.exists():
        return {}
    rows = _rows(table)
    _refuse(table, 'are in two splits', Counter(identifier for identifier, _ in dict.fromkeys(rows)))
    _refuse(table, 'are in two rows', Counter(identifier for identifier, _ in rows))
    if missing := [identifier for identifier, _ in rows if identifier not in by_id]:
        raise DataError(
            f'{table}: {len(missing)} ids have no image in {base}: {_listed(missing)}. An id is the path of an image from '
            'there, without its ending'
        )
    return {
        split: [(row.identifier, by_id[row.identifier]) for row in rows if row.split == split]
        for split in dict.fromkeys(row.split for row in rows)
    }


def _refuse(table: Path, what: str, counts: Counter[str]):
    if found := [identifier for identifier, count in counts.items() if count > 1]:
        raise DataError(f'{table}: {len(found)} ids {what}: {_listed(found)}; every image has one row')


def _rows(table: Path) -> list[_Row]:
    limits.check_file(table)
    try:
        lines = table.read_text(encoding='utf-8-sig').split('\n')
        reader = csv.reader(lines, delimiter=_delimiter(lines), skipinitialspace=True)
        found = [(reader.line_num, fields) for entry in reader if any(fields := [field.strip() for field in entry])]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f'{table}: not a table in CSV format, in UTF-8 ({error})') from error
    (number, header), *rows = found or [(1, [])]
    names = [name.lower() for name in header]
    if any(names.count(name) != 1 for name in _COLUMNS):
        raise _wrong(table, lines, number, "the header has one column 'id' and one 'split'")
    if not rows:
        raise DataError(f'{table}: no rows below the header; write one for every image, or remove the file')
    listed = []
    for number, fields in rows:
        if any(fields[len(names) :]):
            raise _wrong(table, lines, number, f'a row has the {len(names)} columns of the header')
        named = dict(zip(names, fields, strict=False))
        row = _Row(*(named.get(name, '') for name in _COLUMNS))
        if not row.identifier:
            raise _wrong(table, lines, number, 'a row has an id')
        if not _SPLIT.fullmatch(row.split):
            raise _wrong(table, lines, number, f'a split is called by letters, digits, _ and -, found {row.split!r}')
        listed.append(row)
    return listed


def _delimiter(lines: list[str]) -> str:
    """That of the first line which is not empty: a spreadsheet writes semicolons where commas are in numbers."""
    header = next(filter(str.strip, lines), '')
    return max(',;', key=header.count)


def _wrong(table: Path, lines: list[str], number: int, expected: str) -> DataError:
    return DataError(f'{table}, line {number}: {expected}; the line is {lines[number - 1]!r}')


def _listed(names: Iterable[str]) -> str:
    told, others = list(names)[:_TOLD], list(names)[_TOLD:]
    return ', '.join(map(repr, told)) + (f' and {len(others)} more' if others else '')
