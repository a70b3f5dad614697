"""Seconds from the command to the first step of a training: with nothing prepared, with prepared data, with compiled programs.

    python -m benchmarks.start_up --config configs/textures.py [--config.key=value ...] [--rounds 3]
    python -m benchmarks.start_up --config configs/textures.py [--config.key=value ...] --parts 5

Takes the flags of ar_seg_jax.main. Every round starts three runs one after another, each in a new directory: cold (data is
prepared, all is compiled), prepared (all is compiled) and warm (the compiled programs of the run before are there). A start ends
when the line of step 1 appears, which waits for the devices, and the run is then killed. The line 'Devices' parts it in two:
imports and data come before it, the initial state, compilation and the first step after it. Writes
benchmarks/results/start_up_<config>_<platform>.json.

With --parts so many warm starts are taken apart instead: what is imported, traced, read and compiled, in processor time
(`start_up_parts`). Python keeps its byte code in both, as it does for users.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import app, flags
from ml_collections import config_flags

from benchmarks import report, timing

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Python file with get_config(); --config.key=value sets a key.')
_PARTS = flags.DEFINE_integer('parts', 0, 'Warm starts that are taken apart.', lower_bound=0)
_ROUNDS = flags.DEFINE_integer('rounds', 3, 'Rounds.', lower_bound=2)
flags.mark_flag_as_required('config')

ROOT = Path(__file__).parents[1]
STAGES = {'Devices: ': 'imports and data', 'step 1/': 'state, compilation, first step'}


def start(arguments: list[str], directory: Path, kept: Path) -> dict[str, float]:
    """Seconds of each stage of a start, and of all; data and programs are `kept`.

    Raises RuntimeError with the run's last lines if it has no first step.
    """
    line = _line('ar_seg_jax.main', arguments, directory, kept)
    begin = last = time.perf_counter()
    process = subprocess.Popen(line, cwd=ROOT, env=_environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    seconds, told = {}, []
    for text in process.stderr:
        told.append(text)
        for beginning, stage in STAGES.items():
            if text.startswith(beginning):
                now = time.perf_counter()
                seconds[stage], last = now - last, now
        if len(seconds) == len(STAGES):
            break
    process.kill()
    process.communicate()
    if len(seconds) < len(STAGES):
        raise RuntimeError(f'no first step: {"".join(told[-5:])}')
    return {**seconds, 'all': last - begin}


def parts(arguments: list[str], directory: Path, kept: Path) -> dict[str, dict[str, Any]]:
    """What `start_up_parts` says of a start."""
    line = _line('benchmarks.start_up_parts', arguments, directory, kept)
    done = subprocess.run(line, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(done.stdout)


def _line(module: str, arguments: list[str], directory: Path, kept: Path) -> list[str]:
    keys = {'data.data_dir': kept / 'data', 'compilation_cache': kept / 'programs', 'steps': 1_000_000, 'epochs': 0}
    fixed = [f'--config.{key}={value}' for key, value in keys.items()]
    return [sys.executable, '-m', module, *arguments, *fixed, f'--workdir={directory}']


def _environment() -> dict[str, str]:
    """Without what keeps Python from writing byte code: every start would compile it again."""
    return {name: value for name, value in os.environ.items() if name != 'PYTHONDONTWRITEBYTECODE'}


def take_apart(arguments: list[str]) -> dict[str, dict[str, Any]]:
    """The medians of some warm starts."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        found = [parts(arguments, directory / str(turn), directory) for turn in range(_PARTS.value + 1)]
    return timing.medians(found[1:])


def measure(arguments: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Spreads of seconds by kind of start and stage."""
    found = {'cold': [], 'prepared': [], 'warm': []}
    for _ in range(_ROUNDS.value):
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            for kind, starts in found.items():
                if kind == 'prepared':
                    shutil.rmtree(directory / 'programs')
                starts.append(start(arguments, directory / kind, directory))
    return {
        kind: {stage: timing.spread([each[stage] for each in starts]) for stage in starts[0]} for kind, starts in found.items()
    }


def show(measured: dict[str, Any]):
    stages = [*STAGES.values(), 'all']
    rows = [
        (kind, *(f'{seconds[stage]["median"]:.2f}' for stage in stages), report.quartiles(seconds['all']))
        for kind, seconds in measured.items()
    ]
    print(report.table(('start', *(f'{stage}, s' for stage in stages), 'quartiles of all'), rows))


def show_parts(measured: dict[str, Any]):
    rows = [(f'import {name}', f'{seconds:.3f}') for name, seconds in measured['imports'].items()]
    rows += [(name, f'{seconds:.3f}') for name, seconds in measured['parts'].items()]
    total = sum(measured['imports'].values()) + sum(measured['parts'].values())
    print(report.table(('part', 'processor time, s'), [*rows, ('all', f'{total:.3f}')]))
    told = [(name, f'{jax["count"]:.0f}', f'{jax["seconds"]:.3f}') for name, jax in measured['jax'].items()]
    print('\n' + report.table(('JAX', 'functions or programs', 's by its own clock'), told))


def main(_):
    config = flags.FLAGS['config']
    file = config_flags.get_config_filename(config)
    overrides = {**config_flags.get_override_values(config)}
    arguments = [f'--config={file}', *(f'--config.{key}={value}' for key, value in overrides.items())]
    if _PARTS.value:
        measured = take_apart(arguments)
        show_parts(measured)
        report.save('start_up', {'starts': _PARTS.value, **measured}, f'parts_{Path(file).stem}')
        return
    measured = measure(arguments)
    show(measured)
    report.save('start_up', {'starts': measured}, Path(file).stem)


if __name__ == '__main__':
    sys.exit(app.run(main))
