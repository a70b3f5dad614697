"""What a sweep leaves in its directory.

config.json                   the base config, checked when the sweep goes on
lock                          held while a sweep lives; says which
runs/<slug>/<seed>/           a run, as python -m ar_seg_jax.main leaves it; the slug names the overrides of its rows
runs/<slug>/<seed>.log        what its commands said
runs/<slug>/<seed>.done.json  once it is finished: with which config, at which step
tables/<name>.{md,csv,png}    the tables
"""

from pathlib import Path

from ar_seg_jax.sweeping.plan import Key


def run(sweep: Path, key: Key) -> Path:
    return sweep / 'runs' / key[0] / str(key[1])


def log(sweep: Path, key: Key) -> Path:
    return sweep / 'runs' / key[0] / f'{key[1]}.log'


def done(sweep: Path, key: Key) -> Path:
    return sweep / 'runs' / key[0] / f'{key[1]}.done.json'


def table(sweep: Path, name: str, suffix: str) -> Path:
    return sweep / 'tables' / f'{name}.{suffix}'
