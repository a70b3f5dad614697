"""The tables: their rows, how each differs from the base config, and what the paper says (`tables.json`)."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name('tables.json')
KINDS = ('trained', 'untrained', 'baseline', 'not implemented')
MEASURES = ('clustering', 'linear:logits', 'non-linear:logits', 'linear:features', 'non-linear:features')

# Data sets of the paper, by `data.name` and `data.num_classes`.
_COLUMNS = {('coco_stuff', 3): 'coco3', ('coco_stuff', 15): 'coco15', ('potsdam', 3): 'potsdam3', ('potsdam', 6): 'potsdam6'}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    kind: 'trained' with the row's overrides; 'untrained', the network of such a run before training; 'baseline', which the
        evaluation of the base run holds under the name `method`; 'not implemented', with the paper's number only.
    overrides: values by 'part.key'. A list is a choice by seed; {'times': n, 'of': key} is n times the base config's value.
    matching: 'many-to-one' for a score with that matching; '' for the first protocol of the config.
    paper: accuracy in percent by measure and data set (`column`); a pair is mean and standard deviation.
    """

    name: str
    kind: str = 'trained'
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    matching: str = ''
    method: str = ''
    paper: Mapping[str, Mapping[str, float | list[float]]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f'row {self.name!r}: kind is one of {", ".join(KINDS)}, found {self.kind!r}')
        if (self.kind == 'baseline') != bool(self.method):
            raise ValueError(f'row {self.name!r}: a baseline, and nothing else, has a method')
        if self.kind not in ('trained', 'untrained') and self.overrides:
            raise ValueError(f'row {self.name!r}: only a network has overrides')
        if self.matching not in ('', 'many-to-one'):
            raise ValueError(f"row {self.name!r}: matching is 'many-to-one' or '', found {self.matching!r}")
        if any(key == 'seed' or key.startswith('evaluation.') for key in self.overrides):
            raise ValueError(f'row {self.name!r}: seed and evaluation are set by the sweep and cannot be overrides')

    def reference(self, measure: str, column: str | None) -> tuple[float, float | None] | None:
        """The paper's accuracy in percent and its standard deviation, each None where the paper has none."""
        value = self.paper.get(measure, {}).get(column)
        if value is None:
            return None
        return (value[0], value[1]) if isinstance(value, list) else (value, None)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper. source: where the paper's numbers stand. measures: its columns, some of MEASURES."""

    name: str
    title: str
    source: str
    rows: tuple[Row, ...]
    measures: tuple[str, ...] = ('clustering',)
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if unknown := set(self.measures) - set(MEASURES):
            raise ValueError(f'measures are some of {", ".join(MEASURES)}, found {", ".join(sorted(unknown))}')


def names(path: Path = FILE) -> list[str]:
    """The names of all tables in a file."""
    return list(_read(path))


def load(name: str, path: Path = FILE) -> Table:
    """A table from a file; ValueError if there is no such table, or it is not as `Row` and `Table` say."""
    content = _read(path)
    if name not in content:
        raise ValueError(f'--table: no table is called {name!r}; the tables of {path.name} are {", ".join(content)}')
    try:
        entry = dict(content[name])
        rows = tuple(Row(**row) for row in entry.pop('rows'))
        measures, notes = tuple(entry.pop('measures', ('clustering',))), tuple(entry.pop('notes', ()))
        return Table(name=name, rows=rows, measures=measures, notes=notes, **entry)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path}, table {name!r}: {error}; ar_seg_jax/sweeping/tables.py says what a table holds') from error


def column(config: Mapping[str, Any]) -> str | None:
    """The paper's column for the data of a config; None for data that the paper has not."""
    return _COLUMNS.get((config['data']['name'], config['data'].get('num_classes')))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: not JSON ({error})') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path}: expected an object of tables by name')
    return content
