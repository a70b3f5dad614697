"""The tables: their rows, how each differs from the base config, and what the paper says (`tables.json`)."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ar_seg_jax import files
from ar_seg_jax.errors import UserError

FILE = Path(__file__).with_name('tables.json')
KINDS = ('trained', 'untrained', 'baseline', 'no config')
SELECTIONS = ('last', 'best_on_scored_labels')
SEGMENTATION, INSTANCES = 'segmentation', 'instances'  # the measures that baselines and the run itself have, one for each data
_NO_SHARES = ('cluster_entropy', 'mse', 'mse_per_value')

# Data sets of the paper, by `data.name` and `data.num_classes`.
_COLUMNS = {('coco_stuff', 3): 'coco3', ('coco_stuff', 15): 'coco15', ('potsdam', 3): 'potsdam3', ('potsdam', 6): 'potsdam6'}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    kind: 'trained' with the row's overrides; 'untrained', the network of such a run before training; 'baseline', which the
        evaluation of the base run holds under the name `method`; 'no config', with the paper's number only.
    config: another config beside that of the sweep, with '{base}' for its name: 'arl_{base}' of configs/coco3.py is
        configs/arl_coco3.py. '' starts from that of the sweep.
    overrides: values by 'part.key'. A list is a choice by seed; {'times': n, 'of': key} is n times the base config's value;
        {'list': [...]} is a list.
    needs: a key for which the base config has to have a value, such as the shares of classes; without one, the row is of the kind
        'no config'.
    optional: whether the table can do without the row where there is no such other config; it then is of the kind 'no config'.
    matching: 'many-to-one' for a score with that matching; '' for the first protocol of the config.
    paper: accuracy in percent by measure and data set (`column`); a pair is mean and standard deviation.
    """

    name: str
    kind: str = 'trained'
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    config: str = ''
    optional: bool = False
    needs: str = ''
    matching: str = ''
    method: str = ''
    paper: Mapping[str, Mapping[str, float | list[float]]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UserError(f'row {self.name!r}: kind is one of {", ".join(KINDS)}, found {self.kind!r}')
        if (self.kind == 'baseline') != bool(self.method):
            raise UserError(f'row {self.name!r}: a baseline, and nothing else, has a method')
        if self.kind not in ('trained', 'untrained') and (self.overrides or self.config):
            raise UserError(f'row {self.name!r}: only a network has overrides, or a config')
        if self.matching not in ('', 'many-to-one'):
            raise UserError(f"row {self.name!r}: matching is 'many-to-one' or '', found {self.matching!r}")
        if any(key == 'seed' or key.startswith(('evaluation.', 'evaluators.')) for key in self.overrides):
            raise UserError(f'row {self.name!r}: seed, evaluation and evaluators are set by the sweep and cannot be overrides')

    def without_config(self) -> 'Row':
        """The row with nothing but its name and the paper's number."""
        return Row(self.name, 'no config', paper=self.paper)

    def reference(self, measure: str, column: str | None) -> tuple[float, float | None] | None:
        """The paper's accuracy in percent and its standard deviation, each None where the paper has none."""
        value = self.paper.get(measure, {}).get(column)
        if value is None:
            return None
        return (value[0], value[1]) if isinstance(value, list) else (value, None)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper.

    selection: which step is shown of the segmentation of trained rows: 'last', or 'best_on_scored_labels', the evaluated one with
        the highest accuracy. That rule sees the labels that it is scored on, and so flatters; some sources have it.
    compared_with: the row whose score is taken from those of the others of its matching, seed by seed; '' is the first that is
        trained.
    source: where the paper's numbers stand. measures: its columns, '<evaluator>' or '<evaluator>/<name of a result>', such as
        'instances' and 'probes/linear:logits'. scores: which scores of a measure are shown, shares all of
        them, such as 'things_accuracy'; the paper's numbers are of the first.
    """

    name: str
    title: str
    source: str
    rows: tuple[Row, ...]
    measures: tuple[str, ...] = (SEGMENTATION,)
    scores: tuple[str, ...] = ('accuracy', 'mean_iou')
    notes: tuple[str, ...] = ()
    selection: str = 'last'
    compared_with: str = ''

    def __post_init__(self):
        if self.compared_with not in ('', *(row.name for row in self.rows)):
            raise UserError(f'table {self.name!r}: compared_with names a row, found {self.compared_with!r}')
        if others := set(self.scores).intersection(_NO_SHARES):
            raise UserError(f'table {self.name!r}: scores are shares, shown in percent; {", ".join(sorted(others))} is none')
        if self.selection not in SELECTIONS:
            raise UserError(f'table {self.name!r}: selection is one of {", ".join(SELECTIONS)}, found {self.selection!r}')

    def standard(self, matching: str = '') -> str:
        """The name of the row that those of a matching are compared with; '' where there is none.

        Scores of different matching do not compare, so that each has its own: the one of `compared_with`, and else the first
        trained row.
        """
        known = [row for row in self.rows if row.matching == matching]
        chosen = (row.name for row in known if row.name == self.compared_with)
        return next(chosen, '') or next((row.name for row in known if row.kind == 'trained'), '')

    @property
    def standards(self) -> list[str]:
        """Those of all its matchings."""
        return [name for matching in dict.fromkeys(row.matching for row in self.rows) if (name := self.standard(matching))]


def names(path: Path = FILE) -> list[str]:
    """The names of all tables in a file."""
    return list(_read(path))


def load(name: str, path: Path = FILE) -> Table:
    """A table from a file; UserError if there is no such table, or it is not as `Row` and `Table` say."""
    content = _read(path)
    if name not in content:
        raise UserError(f'--table: no table is called {name!r}; the tables of {path.name} are {", ".join(content)}')
    try:
        entry = dict(content[name])
        rows = tuple(Row(**row) for row in entry.pop('rows'))
        lists = {key: tuple(entry.pop(key)) for key in ('measures', 'scores', 'notes') if key in entry}
        return Table(name=name, rows=rows, **lists, **entry)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path}, table {name!r}: {error}; ar_seg_jax/sweeping/tables.py says what a table holds') from error


def column(config: Mapping[str, Any]) -> str | None:
    """The paper's column for the data of a config; None for data that the paper has not."""
    return _COLUMNS.get((config['data']['name'], config['data'].get('num_classes')))


def _read(path: Path) -> dict[str, Any]:
    return files.read_json(path, advice='see ar_seg_jax/sweeping/tables.py')
