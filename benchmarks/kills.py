"""Kills a run with SIGKILL again and again, and compares its end with that of a run that nobody killed.

    python -m benchmarks.kills --kills 50 --directory DIR

Every second kill comes while a save is under way; of the others some come while the program starts, some at a random time
after its first save. The end is the same if every
number of the last checkpoint, bit by bit, and every record of metrics, up to times and rates, are the same. Writes
benchmarks/results/kills_cpu.json; the exit status is 1 if anything differs.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import ends, report

ROOT = Path(__file__).parents[1]
# A small model and a save after every step: most of the time goes into starting.
CONFIG = {
    'data.size': 48,
    'data.train_count': 16,
    'data.val_count': 4,
    'pipeline.crop_size': 32,
    'pipeline.batch_size': 4,
    'evaluation.batch_size': 4,
    'evaluation.pictures': 0,
    'evaluators.segmentation.baselines': False,
    'evaluators.probes.names': '()',
    'model.blocks': 1,
    'log_every': 1,
    'evaluate_every': 7,
    'checkpoint_every': 1,
}
# On one CPU device, where the same program gives the same bits.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != 'XLA_FLAGS'} | {'JAX_PLATFORMS': 'cpu'}


def command(directory: Path, data_dir: Path, steps: int) -> list[str]:
    """The command of the run."""
    keys = [f'--config.{key}={value}' for key, value in {**CONFIG, 'data.data_dir': data_dir, 'steps': steps}.items()]
    return [sys.executable, '-m', 'ar_seg_jax.main', '--config=configs/textures.py', *keys, f'--workdir={directory}']


def survive(kills: int, directory: Path, seed: int = 0, steps: int | None = None) -> dict[str, Any]:
    """Runs to the end once without and once with `kills` kills below `directory`; when they came, and what differs.

    `steps` are to be more than the lives of the run get done.
    """
    rng = random.Random(seed)
    whole, killed, data_dir = directory / 'whole', directory / 'killed', directory / 'data'
    steps = steps or 40 + 20 * kills
    subprocess.run(command(whole, data_dir, steps), cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    line = command(killed, data_dir, steps)
    times = Counter(_kill(line, killed, rng, ('save', 'start', 'save', 'later')[index % 4]) for index in range(kills))
    last = subprocess.run(line, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    return {
        'kills': dict(times),
        'damaged': len(list((killed / 'damaged').glob('*'))) if (killed / 'damaged').exists() else 0,
        'status': last.returncode,
        'error': last.stderr if last.returncode else '',
        'differing_arrays': ends.differing_arrays(whole, killed, steps),
        'differing_records': ends.differing_records(whole, killed),
        'records': len(ends.records(whole)),
    }


def _kill(line: Sequence[str], directory: Path, rng: random.Random, when: str) -> str:
    """Starts the run and kills it; what it was doing."""
    process = subprocess.Popen(line, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    before, started = _saves(directory), set()
    wanted = 0 if when == 'start' else rng.randint(1, 4)
    while process.poll() is None and len(started) < wanted:
        started |= _saves(directory) - before
        time.sleep(0.0005)
    time.sleep(rng.uniform(0, {'start': 3, 'save': 0.01, 'later': 0.3}[when]))
    process.kill()
    if process.wait() >= 0:
        return 'after its end'
    if _saves(directory) - before:
        return 'during a save'
    return 'between saves' if started else 'before the first save'


def _saves(directory: Path) -> set[str]:
    """Saves that are under way, or that a kill cut short."""
    return {path.name for path in (directory / 'checkpoints').glob('*.orbax-checkpoint-tmp*')}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=50)
    parser.add_argument('--directory', type=Path, required=True, help='new or empty')
    arguments = parser.parse_args()
    found = survive(arguments.kills, arguments.directory.absolute())  # Orbax reads no other
    print(json.dumps(found, indent=1))
    report.save('kills', found)
    return int(found['status'] != 0 or found['differing_arrays'] or found['differing_records'])


if __name__ == '__main__':
    sys.exit(main())
