"""Tables in CSV format, as people and spreadsheets write them.

    id,split        a header with the names of columns, in any case and order; columns that nobody asks for are ignored
    a,train
    b,val

Fields are separated by commas or semicolons, with or without quotation marks, blanks around them, a byte order mark, and empty
lines.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ar_seg_jax.data import limits
from ar_seg_jax.data.limits import DataError

_TOLD = 10  # entries in a message


class Row(NamedTuple):
    """A row by the names of its columns, in lower case; a field that the row has not is ''."""

    line: int
    fields: dict[str, str]


class Table:
    """A table of a file, of which `columns` are needed; DataError with the line for what is none.

    names: of all columns, in lower case and the order of the file. rows: at least one.
    """

    def __init__(self, path: Path, columns: Sequence[str]):
        limits.check_file(path)
        self._path = path
        try:
            self._lines = path.read_text(encoding='utf-8-sig').split('\n')
            found = list(_filled(csv.reader(self._lines, delimiter=_delimiter(self._lines), skipinitialspace=True)))
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f'{path}: not a table in CSV format, in UTF-8 ({error})') from error
        (line, header), *rows = found or [(1, [])]
        self.names = [name.lower() for name in header]
        if any(self.names.count(name) != 1 for name in columns):
            raise self.wrong(line, f'the header has {" and ".join(f"one column {name!r}" for name in columns)}')
        if not rows:
            raise DataError(f'{path}: no rows below the header; write one for every image, or remove the file')
        self.rows = [Row(line, self._named(line, fields)) for line, fields in rows]

    def wrong(self, line: int, expected: str) -> DataError:
        """What to raise about a line of the file."""
        return DataError(f'{self._path}, line {line}: {expected}; the line is {self._lines[line - 1]!r}')

    def refuse_repeated(self, values: Iterable[str], what: str):
        """DataError that lists the values which occur more than once, if any do."""
        if found := [value for value, count in Counter(values).items() if count > 1]:
            raise DataError(f'{self._path}: {len(found)} {what}: {listed(found)}; every image has one row')

    def _named(self, line: int, fields: list[str]) -> dict[str, str]:
        if any(fields[len(self.names) :]):
            raise self.wrong(line, f'a row has the {len(self.names)} columns of the header')
        return dict.fromkeys(self.names, '') | dict(zip(self.names, fields, strict=False))


def listed(values: Iterable[str]) -> str:
    """The first ten values, and how many more there are."""
    told, others = list(values)[:_TOLD], list(values)[_TOLD:]
    return ', '.join(map(repr, told)) + (f' and {len(others)} more' if others else '')


def _filled(reader) -> Iterator[tuple[int, list[str]]]:
    for entry in reader:
        if any(fields := [field.strip() for field in entry]):
            yield reader.line_num, fields


def _delimiter(lines: list[str]) -> str:
    """That of the first line which is not empty: a spreadsheet writes semicolons where commas are in numbers."""
    header = next(filter(str.strip, lines), '')
    return max(',;', key=header.count)
