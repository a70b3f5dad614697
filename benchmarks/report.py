"""Where results go: a table on the screen, a small JSON file beside the benchmarks."""

import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ELSEWHERE = 'BENCHMARK_RESULTS'  # environment variable: a directory for results that are not to replace those of the repository


def machine() -> dict[str, Any]:
    """Where it was measured."""
    import jax

    packages = ('jax', 'jaxlib', 'flax', 'torch')
    versions = {name: metadata.version(name) for name in packages if importlib.util.find_spec(name)}
    device = jax.devices()[0]
    return {'device': device.device_kind, 'platform': device.platform, 'cores': os.cpu_count(), 'versions': versions}


def save(benchmark: str, measured: dict[str, Any], variant: str = '') -> Path:
    """Writes results/<benchmark>[_<variant>]_<platform>.json: the command, the machine, and what was `measured`."""
    where = machine()
    directory = Path(os.environ.get(ELSEWHERE) or Path(__file__).parent / 'results')
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / ('_'.join(filter(None, (benchmark, variant, where['platform']))) + '.json')
    command = shlex.join(['python', '-m', f'benchmarks.{benchmark}', *map(_portable, sys.argv[1:])])
    path.write_text(json.dumps({'command': command, **where, **measured}, indent=1) + '\n')
    return path


def _portable(word: str) -> str:
    """An argument without the places of this machine: 'DIR' for an absolute path, also after the name of a flag."""
    flag, equals, value = word.partition('=') if word.startswith('-') else ('', '', word)
    return f'{flag}{equals}{"DIR" if value.startswith("/") else value}'


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = ['| ' + ' | '.join(titles) + ' |', '|' + ' --- |' * len(titles)]
    return '\n'.join(lines + ['| ' + ' | '.join(row) + ' |' for row in rows])


def quartiles(seconds: dict[str, float]) -> str:
    """The middle half of a `timing.spread`."""
    return f'{seconds["quartile_1"]:.4g} to {seconds["quartile_3"]:.4g}'
