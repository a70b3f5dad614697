"""From a table to the runs that it needs; rows that mean the same run share it, within a table and between tables."""

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ar_seg_jax.configuration import differences, in_words, unknown
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation.protocols import Protocol
from ar_seg_jax.sweeping.tables import INSTANCES, Row, Table

BASE = 'base'
BASELINES = ('k-means on pixels',)  # what every evaluation with baselines holds
_SCORED = ('data.', 'evaluation.split', 'evaluation.crop_size')  # keys that say what is learned from and what is scored
_PROBES = 'probes'  # the evaluator whose results are chosen by name

_logger = logging.getLogger(__name__)

Config = Mapping[str, Any]
Key = tuple[str, int]  # slug and seed


@dataclasses.dataclass(frozen=True)
class Base:
    """A config that rows start from: the file, and what it says with the changes that the user made."""

    file: str
    config: Config


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A directory, and the configs of all that is in it.

    base: of most rows. overrides: what the user changed. load: the config of another file with these changes.
    """

    directory: Path
    base: Base
    overrides: Mapping[str, Any]
    load: Callable[[str], Config]

    def of(self, row: Row) -> Base:
        """The config that a row starts from; UserError if its file does not exist, or has other images than the base."""
        if not row.config:
            return self.base
        other = self._file(row)
        if not other.is_file():
            raise UserError(f'the row {row.name!r} needs the config {other}, which does not exist')
        config = self.load(str(other))
        unlike = [found for found in differences(self.base.config, config) if found[0].startswith(_SCORED)]
        if unlike:
            words = in_words(unlike, Path(self.base.file).name, other.name)
            raise UserError(f'the scores of row {row.name!r} would be of other images: {words}')
        return Base(str(other), config)

    def available(self, table: Table) -> Table:
        """The table as it is where optional rows lack their config, and others what they need; both are told."""
        return dataclasses.replace(table, rows=tuple(map(self._with_config, table.rows)))

    def _with_config(self, row: Row) -> Row:
        if row.needs and not lookup(self.base.config, row.needs):
            _logger.info('%s is not run: give --config.%s', row.name, row.needs)
            return row.without_config()
        if not row.optional or self._file(row).is_file():
            return row
        _logger.info('%s is not run: there is no %s', row.name, self._file(row))
        return row.without_config()

    def _file(self, row: Row) -> Path:
        file = Path(self.base.file)
        return file.with_name(f'{row.config.format(base=file.stem)}.py')


@dataclasses.dataclass(frozen=True)
class Training:
    """One training, and what its evaluation is to hold.

    slug: name of its config and overrides, safe for files. protocols: of the segmentation. probes: their names. methods:
    baselines. untrained: whether the network before training is scored too.
    """

    slug: str
    seed: int
    base: Base
    overrides: Mapping[str, Any]
    protocols: tuple[str, ...]
    probes: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    untrained: bool = False

    @property
    def key(self) -> Key:
        return self.slug, self.seed


def trainings(table: Table, sweep: Sweep, seeds: Sequence[int]) -> list[Training]:
    """Those of a table, each once: the first seed of all rows, then the second, so that an early end leaves most."""
    bases = {row.config: sweep.of(row) for row in table.rows if row.kind != 'no config'}
    found: dict[Key, Training] = {}
    for seed in seeds:
        for row in table.rows:
            if row.kind != 'no config':
                one = _training(row, table, bases[row.config], seed)
                found[one.key] = _joined(found[one.key], one) if one.key in found else one
    return list(found.values())


def key(row: Row, base: Base, seed: int) -> Key:
    """Of the training from which a row's score comes."""
    return _slug(row, base, seed), seed


def resolve(row: Row, base: Base, seed: int) -> dict[str, Any]:
    """A row's overrides for a seed, less those that its config has already."""
    values = {name: _value(value, base.config, seed) for name, value in row.overrides.items()}
    return {name: value for name, value in sorted(values.items()) if not same(lookup(base.config, name), value)}


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal in JSON, which has no tuples."""
    return json.loads(json.dumps(one)) == json.loads(json.dumps(other))


def choices(row: Row, seeds: Sequence[int]) -> list[str]:
    """What a row takes for each seed where that differs, in words."""
    lists = {name: value for name, value in row.overrides.items() if isinstance(value, list)}
    return [f'seed {seed}: {name}={values[seed % len(values)]}' for seed in seeds for name, values in lists.items()]


def protocol(row: Row, config: Config) -> str:
    """The protocol of a row's score, in full; that of objects has no other choice than the split.

    Many-to-one is fitted on other images than those scored: by the config's own such protocol, or else on its training split.
    """
    if INSTANCES in config['evaluators']:
        if row.matching:
            raise UserError(f'{row.name!r} has a matching with classes, and config.evaluators.instances scores objects')
        return f'{INSTANCES}:{config["evaluation"]["split"]}'
    known = protocols(config)
    if not known:
        raise UserError(
            'config.evaluators.segmentation.protocols is empty, and a table needs scores; name a protocol and use data with '
            'labels'
        )
    if not row.matching:
        return known[0].short
    fitting = [one for one in known if one.matching == row.matching and one.matched_on != one.scored_on]
    fitted_on, scored_on = config['data']['train_split'], known[0].scored_on
    if not fitting and fitted_on == scored_on:
        raise UserError(
            f'{row.name!r} needs a matching fitted on other images than those scored, and both are {scored_on!r}; name another '
            'split in --config.evaluation.split'
        )
    return (fitting[0] if fitting else Protocol(row.matching, fitted_on, scored_on)).short


def protocols(config: Config) -> list[Protocol]:
    """Those of a config."""
    chosen = lookup(config, 'evaluators.segmentation.protocols') or ()
    return [Protocol.parse(text, config['evaluation']['split']) for text in chosen]


def lookup(config: Config, name: str) -> Any:
    """The value of 'part.key' in a nested config; None where there is none."""
    for part in name.split('.'):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def _slug(row: Row, base: Base, seed: int) -> str:
    """A readable name for a config and its overrides that is safe as the name of a directory."""
    parts = [f'{name}={value}' for name, value in sorted(resolve(row, base, seed).items())]
    return re.sub(r'[^\w.,=+-]', '_', '+'.join([*([Path(base.file).stem] if row.config else []), *parts])) or BASE


def _training(row: Row, table: Table, base: Base, seed: int) -> Training:
    slug = _slug(row, base, seed)
    own = [one.short for one in protocols(base.config)]
    return Training(
        slug,
        seed,
        base,
        resolve(row, base, seed),
        _union(own, (protocol(row, base.config),)),
        tuple(name for evaluator, name in _measures(table, base.config) if evaluator == _PROBES),
        _union(BASELINES if slug == BASE else (), (row.method,) if row.method else ()),
        row.kind == 'untrained',
    )


def _measures(table: Table, config: Config) -> list[tuple[str, str]]:
    """Evaluator and name of a result, or '', of each measure of a table; UserError for an evaluator that the config has not."""
    found = []
    for measure in table.measures:
        evaluator, _, name = measure.partition('/')
        if evaluator not in config['evaluators']:
            raise UserError(f'table {table.name!r}, measure {measure!r}: {unknown(evaluator, config["evaluators"])}')
        found.append((evaluator, name))
    return found


def _joined(one: Training, other: Training) -> Training:
    parts = {part: _union(getattr(one, part), getattr(other, part)) for part in ('protocols', 'probes', 'methods')}
    return dataclasses.replace(one, **parts, untrained=one.untrained or other.untrained)


def _union(one, other) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))


def _value(value: Any, config: Config, seed: int) -> Any:
    if isinstance(value, list):
        return value[seed % len(value)]
    if isinstance(value, Mapping):
        return tuple(value['list']) if 'list' in value else value['times'] * lookup(config, value['of'])
    return value
