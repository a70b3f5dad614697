"""Everything that wants an accelerator, one part after the other; a part that fails or takes too long does not end it.

    python -m benchmarks.gpu --output DIR [--parts rates agreement ...] [--minutes 9] [--tiny]

Runs from a bare checkout, whose directory it is started in, with what `requirements.txt` and the driver want, and PyTorch for the
comparisons. Parts come in the order of what they tell; those that the minutes do not suffice for are named, and can be
asked for in another call. Writes to DIR, after each part:

- gpu.json: of each part its command, status and seconds, the end of what it said, and the results that it saved;
- gpu.md: a table of the parts, and what each of them printed;
- trace.zip: a trace of three training steps for TensorBoard's profile plugin.

--tiny takes sizes that a laptop's CPU does within minutes: a trial of the command, no measurement.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import report

ROOT = Path(__file__).parents[1]
_TOLD = 6000  # characters of what a part printed that are kept
_TIMED_OUT = 124  # as `timeout` has it

_BRIEF = '--rounds 2 --against'
_SMALL_STEP = f'benchmarks.training_step --blocks 1 --batch 2 --side 32 {_BRIEF}'
_COCO3 = 'benchmarks.training_step --blocks 5 --batch 60'
_POTSDAM3 = 'benchmarks.training_step --blocks 5 --batch 30 --side 200 --stride 2 --channels 4 --attention'
_TEXTURES = 'ar_seg_jax.main --config configs/textures.py --config.evaluate_every=0 --config.profile=8-10'
_FEW = '--threads 1 --workers 0 --seconds 0.2 --rounds 2'
_QUICK = '--config.data.train_count=8 --config.data.val_count=4 --config.pipeline.batch_size=2 --config.model.blocks=1'


class Part(NamedTuple):
    """command: of `python -m`. limit: seconds after which it is killed."""

    command: str
    limit: int


PARTS = {
    'rates': Part('benchmarks.limits', 90),
    'agreement': Part('benchmarks.agreement', 120),
    'coco3': Part(f'{_COCO3} --dtype bfloat16', 300),
    'potsdam3': Part(f'{_POTSDAM3} --dtype bfloat16', 300),
    'coco3, float32': Part(f'{_COCO3} --against product', 240),
    'coco3, remat': Part(f'{_COCO3} --dtype bfloat16 --remat --against', 120),
    'coco3, 4 blocks': Part(f'{_COCO3} --blocks 4 --dtype bfloat16 --against', 120),
    'coco15': Part(f'{_COCO3} --clusters 15 --dtype bfloat16 --against', 120),
    'potsdam6': Part(f'{_POTSDAM3} --clusters 6 --dtype bfloat16 --against', 120),
    'training': Part(f'{_TEXTURES} --config.steps=2000', 240),
    'AC loss': Part('benchmarks.information_loss --convolution', 180),
    'attention': Part('benchmarks.attention --timed_batch 30 --dtype bfloat16', 180),
    'ARL loss': Part('benchmarks.contrastive_loss --side 100 --no-dense', 180),
    'IIC': Part('benchmarks.iic_step --batch 60', 240),
    'PiCIE': Part('benchmarks.picie_epoch --batch 64 --dtype bfloat16', 240),
    'AST': Part('benchmarks.ast_step --batch 64', 240),
    'k-means': Part('benchmarks.k_means --batches 64 --images 64', 120),
    'largest batch': Part('benchmarks.largest_batch', 300),
    'input pipeline': Part('benchmarks.input_pipeline --config configs/textures.py --steps 0', 120),
}
TINY = {
    'rates': 'benchmarks.limits --size 64 --megabytes 1 --rounds 2',
    'agreement': 'benchmarks.agreement --batch 2 --side 32 --blocks 1',
    'coco3': _SMALL_STEP,
    'potsdam3': f'{_SMALL_STEP} --blocks 2 --attention',
    'coco3, float32': _SMALL_STEP,
    'coco3, remat': f'{_SMALL_STEP} --remat',
    'coco3, 4 blocks': _SMALL_STEP,
    'coco15': f'{_SMALL_STEP} --clusters 15',
    'potsdam6': f'{_SMALL_STEP} --clusters 6',
    'training': f'{_TEXTURES} --config.steps=10 {_QUICK}',
    'AC loss': 'benchmarks.information_loss --sizes small --convolution --step --batch 2 --rounds 2',
    'attention': 'benchmarks.attention --batch 1 --tokens 64 --explicit 64 --growth 64 --rounds 2',
    'ARL loss': 'benchmarks.contrastive_loss --batch 2 --side 4 --growth 4 --rounds 2',
    'IIC': f'benchmarks.iic_step --batch 2 --side 32 --width 4 {_BRIEF}',
    'PiCIE': f'benchmarks.picie_epoch --batch 2 --side 32 --batches 2 --base 4 --width 8 --clusters 3 {_BRIEF}',
    'AST': f'benchmarks.ast_step --batch 2 {_BRIEF}',
    'k-means': f'benchmarks.k_means --batches 2 --images 2 --places 20 --channels 4 --clusters 3 --iterations 2 {_BRIEF}',
    'largest batch': f'benchmarks.largest_batch --most 2 -- {_SMALL_STEP}',
    'input pipeline': f'benchmarks.input_pipeline --config configs/textures.py --steps 0 {_FEW} {_QUICK}',
}


def run(command: str, limit: float, directory: Path) -> dict[str, Any]:
    """Status, seconds, the end of what was said, and the results that were saved, of a command in a directory of its own."""
    results = directory / 'results'
    environment = {**os.environ, report.ELSEWHERE: str(results), 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}
    workdir = ['--workdir', str(directory / 'run')] if command.startswith('ar_seg_jax.main') else []
    start = time.perf_counter()
    with (directory / 'log').open('w+') as log:
        words = [sys.executable, '-m', *shlex.split(command), *workdir]
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with what it started, which would compute beside the next part
            process.wait()
            status = _TIMED_OUT
    seconds = time.perf_counter() - start
    saved = {path.name: json.loads(path.read_text()) for path in sorted(results.glob('*.json'))}
    return {
        'command': f'python -m {command}',
        'status': status,
        'seconds': seconds,
        'told': (directory / 'log').read_text()[-_TOLD:],
        'results': saved,
    }


def run_all(parts: Sequence[str], minutes: float, tiny: bool, tell: Callable[[dict[str, Any], Path], Any]) -> dict[str, Any]:
    """What is found out about each part, None for those that no time was left for.

    `tell` gets it after each, with the directory of its files, which is gone afterwards.
    """
    found: dict[str, Any] = dict.fromkeys(parts)
    end = time.monotonic() + 60 * minutes
    for name in parts:
        left = end - time.monotonic()
        if left <= 0:
            break
        part = PARTS[name]
        with tempfile.TemporaryDirectory() as directory:
            found[name] = run(TINY[name] if tiny else part.command, min(part.limit, left), Path(directory))
            tell(found, Path(directory))
        print(f'{name}: status {found[name]["status"]} after {found[name]["seconds"]:.0f} s', flush=True)
    return found


def write(found: dict[str, Any], output: Path, directory: Path):
    """All files; the trace is that of the part whose files are in a directory, where it made one."""
    (output / 'gpu.json').write_text(json.dumps(found, indent=1) + '\n')
    (output / 'gpu.md').write_text(_page(found))
    traced = sorted((directory / 'run' / 'tensorboard').rglob('plugins/profile/**/*.*'))
    if traced:
        with zipfile.ZipFile(output / 'trace.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
            for path in traced:
                archive.write(path, path.relative_to(directory / 'run' / 'tensorboard'))


def _page(found: dict[str, Any]) -> str:
    rows = [
        (name, *(('not run', '-') if one is None else (str(one['status']), f'{one["seconds"]:.0f}')))
        for name, one in found.items()
    ]
    details = [f'## {name}\n\n    {one["command"]}\n\n```\n{one["told"].strip()}\n```' for name, one in found.items() if one]
    return '\n\n'.join(['# What a GPU shows', report.table(('part', 'status', 'seconds'), rows), *details]) + '\n'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=Path, required=True)
    parser.add_argument('--parts', nargs='+', default=tuple(PARTS), choices=PARTS, help='default: all')
    parser.add_argument('--minutes', type=float, default=9, help='for all of them; default: %(default)s')
    parser.add_argument('--tiny', action='store_true', help='small sizes, to try the command')
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    found = run_all(
        arguments.parts, arguments.minutes, arguments.tiny, lambda told, directory: write(told, arguments.output, directory)
    )
    print(arguments.output / 'gpu.md')
    return 0 if all(one and not one['status'] for one in found.values()) else 1


if __name__ == '__main__':
    sys.exit(main())
