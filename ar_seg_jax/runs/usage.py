"""Which prepared data the runs on a disk use."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ar_seg_jax.runs import workdir


def runs(below: Path, named: Iterable[Path] = ()) -> list[Path]:
    """The directories of runs below a directory, hidden ones and links left out, and those that are `named`."""
    found = {path.resolve(): None for path in named}
    for place, directories, names in os.walk(below):
        directories[:] = sorted(name for name in directories if not name.startswith('.'))
        if {'config.json', 'data.json'} <= set(names):
            found[Path(place).resolve()] = None
    return list(found)


def of(runs: Sequence[Path]) -> Callable[[str, str], bool]:
    """Whether a variant of a data set is used: any of a data set that is used by a run without a record of its variant.

    UserError for a run whose files do not say what it uses.
    """
    used = set(map(workdir.used_data, runs))
    return lambda dataset, variant: not used.isdisjoint([(dataset, variant), (dataset, None)])
