"""Seconds from the command to the first step of a training: with nothing prepared, with prepared data, with compiled programs.

    python -m benchmarks.start_up --config configs/textures.py [--config.key=value ...] [--rounds 3]

Takes the flags of ar_seg_jax.main. Every round starts three runs one after another, each in a new directory: cold (data is
prepared, all is compiled), prepared (all is compiled) and warm (the compiled programs of the run before are there). A start ends
when the line of step 1 appears, which waits for the devices, and the run is then killed. The line 'Devices' parts it in two:
imports and data come before it, the initial state, compilation and the first step after it. Writes
benchmarks/results/start_up_<config>_<platform>.json.
"""

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
_ROUNDS = flags.DEFINE_integer('rounds', 3, 'Rounds.', lower_bound=2)
flags.mark_flag_as_required('config')

ROOT = Path(__file__).parents[1]
STAGES = {'Devices: ': 'imports and data', 'step 1/': 'state, compilation, first step'}


def start(arguments: list[str], directory: Path, kept: Path) -> dict[str, float]:
    """Seconds of each stage of a start, and of all; data and programs are `kept`.

    Raises RuntimeError with the run's last lines if it has no first step.
    """
    keys = {'data.data_dir': kept / 'data', 'compilation_cache': kept / 'programs', 'steps': 1_000_000, 'epochs': 0}
    fixed = [f'--config.{key}={value}' for key, value in keys.items()]
    line = [sys.executable, '-m', 'ar_seg_jax.main', *arguments, *fixed, f'--workdir={directory}']
    begin = last = time.perf_counter()
    process = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
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


def main(_):
    config = flags.FLAGS['config']
    file = config_flags.get_config_filename(config)
    overrides = {**config_flags.get_override_values(config)}
    arguments = [f'--config={file}', *(f'--config.{key}={value}' for key, value in overrides.items())]
    measured = measure(arguments)
    show(measured)
    report.save('start_up', {'starts': measured}, Path(file).stem)


if __name__ == '__main__':
    sys.exit(app.run(main))
