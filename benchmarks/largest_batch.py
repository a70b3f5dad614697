"""The largest batch whose training steps a device has room for, found by trying.

    python -m benchmarks.largest_batch [--most 4096] [-- benchmarks.training_step --blocks 5 --dtype bfloat16 --against ...]

Doubles the batch until the command fails, then halves the gap between the last that ran and the first that did not until it is an
eighth of the batch. Every trial is a process of its own. Writes benchmarks/results/largest_batch_<platform>.json.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import report

ROOT = Path(__file__).parents[1]
_COCO3 = 'benchmarks.training_step --blocks 5 --dtype bfloat16 --rounds 2 --against'


def largest(runs: Callable[[int], bool], most: int) -> tuple[int, int]:
    """The largest number that runs, to an eighth of it, 0 if none does, and the smallest that did not, `most` + 1 if all do."""
    good, bad = 0, most + 1
    trial = 1
    while trial < bad and bad - good > max(1, good // 8):
        good, bad = (trial, bad) if runs(trial) else (good, trial)
        trial = 2 * good if bad > most and 2 * good <= most else (good + bad) // 2
    return good, bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--most', type=int, default=4096, help='images; default: %(default)s')
    parser.add_argument(
        'command', nargs='*', default=shlex.split(_COCO3), help='to which --batch is added; default: that of coco3'
    )
    arguments = parser.parse_args()
    tried = []

    def runs(batch: int) -> bool:
        words = [sys.executable, '-m', *arguments.command, '--batch', str(batch)]
        finished = subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        reason = finished.stderr.strip().splitlines()[-1][:200] if finished.returncode and finished.stderr.strip() else ''
        tried.append({'batch': batch, 'status': finished.returncode, 'reason': reason})
        print(f'{batch}: {reason or "ran"}', flush=True)
        return finished.returncode == 0

    good, bad = largest(runs, arguments.most)
    print(f'The largest batch that ran is {good}; {bad} {"was not tried" if bad > arguments.most else "did not"}.')
    report.save('largest_batch', {'step': shlex.join(arguments.command), 'largest': good, 'tried': tried})


if __name__ == '__main__':
    sys.exit(main())
