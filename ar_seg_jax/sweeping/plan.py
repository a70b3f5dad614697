"""From a table to the runs that it needs; rows that mean the same run share it, within a table and between tables."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ar_seg_jax.sweeping.tables import Row, Table

BASE = 'base'
BASELINES = ('untrained network', 'k-means on pixels')  # what every evaluation with baselines holds

Config = Mapping[str, Any]
Key = tuple[str, int]  # slug and seed


@dataclasses.dataclass(frozen=True)
class Run:
    """One training, and what its evaluation is to hold.

    slug: name of the overrides, safe for files. protocols: '<matching>:<matched on>:<scored on>'. methods: baselines.
    untrained: whether the network before training is scored too.
    """

    slug: str
    seed: int
    overrides: Mapping[str, Any]
    protocols: tuple[str, ...]
    probes: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    untrained: bool = False

    @property
    def key(self) -> Key:
        return self.slug, self.seed


def runs(table: Table, config: Config, seeds: Sequence[int]) -> list[Run]:
    """The runs of a table, each once: the first seed of all rows, then the second, so that an early end leaves most."""
    found: dict[Key, Run] = {}
    for seed in seeds:
        for row in table.rows:
            if row.kind != 'not implemented':
                run = _run(row, table, config, seed)
                found[run.key] = _joined(found[run.key], run) if run.key in found else run
    return list(found.values())


def key(row: Row, config: Config, seed: int) -> Key:
    """Of the run from which a row's score comes."""
    return slug(resolve(row, config, seed)), seed


def resolve(row: Row, config: Config, seed: int) -> dict[str, Any]:
    """A row's overrides for a seed, less those that the base config has already."""
    values = {name: _value(value, config, seed) for name, value in row.overrides.items()}
    return {name: value for name, value in sorted(values.items()) if lookup(config, name) != value}


def choices(row: Row, seeds: Sequence[int]) -> list[str]:
    """What a row takes for each seed where that differs, in words."""
    lists = {name: value for name, value in row.overrides.items() if isinstance(value, list)}
    return [f'seed {seed}: {name}={values[seed % len(values)]}' for seed in seeds for name, values in lists.items()]


def protocol(row: Row, config: Config) -> str:
    """The protocol of a row's score.

    Many-to-one is fitted on other images than those scored: by the config's own such protocol, or else on its training split.
    """
    known = config['evaluation']['protocols']
    if not known:
        raise ValueError(
            'config.evaluation.protocols is empty, and a table needs scores; name a protocol and use data with labels'
        )
    if not row.matching:
        return known[0]
    parts = [text.split(':') for text in known]
    fitting = [':'.join(part) for part in parts if part[0] == row.matching and part[1] != part[-1]]
    fitted_on, scored_on = config['data']['train_split'], parts[0][-1]
    if not fitting and fitted_on == scored_on:
        raise ValueError(
            f'{row.name!r} needs a matching fitted on other images than those scored, and both are {scored_on!r}; name another '
            'split first in --config.evaluation.protocols'
        )
    return fitting[0] if fitting else f'{row.matching}:{fitted_on}:{scored_on}'


def slug(overrides: Mapping[str, Any]) -> str:
    """A readable name for overrides that is safe as the name of a directory."""
    text = '+'.join(f'{name}={value}' for name, value in sorted(overrides.items()))
    return re.sub(r'[^\w.,=+-]', '_', text) or BASE


def lookup(config: Config, name: str) -> Any:
    """The value of 'part.key' in a nested config; None where there is none."""
    for part in name.split('.'):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def _run(row: Row, table: Table, config: Config, seed: int) -> Run:
    overrides = resolve(row, config, seed)
    name = slug(overrides)
    return Run(
        name,
        seed,
        overrides,
        _union(config['evaluation']['protocols'], (protocol(row, config),)),
        tuple(measure for measure in table.measures if measure != 'clustering'),
        _union(BASELINES if name == BASE else (), (row.method,) if row.method else ()),
        row.kind == 'untrained',
    )


def _joined(one: Run, other: Run) -> Run:
    parts = {part: _union(getattr(one, part), getattr(other, part)) for part in ('protocols', 'probes', 'methods')}
    return dataclasses.replace(one, **parts, untrained=one.untrained or other.untrained)


def _union(one, other) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))


def _value(value: Any, config: Config, seed: int) -> Any:
    if isinstance(value, list):
        return value[seed % len(value)]
    if isinstance(value, Mapping):
        return value['times'] * lookup(config, value['of'])
    return value
