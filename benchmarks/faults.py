"""Disks that take nothing, and processes of one run that are lost: how long training waits, and how it ends.

    python -m benchmarks.faults --directory DIR [--losses 20]

The disks are small file systems in memory, filled or made read-only during training, which takes the rights of root and Linux.
Processes are lost at random moments of runs of two, by SIGKILL and SIGSTOP. Writes benchmarks/results/faults_cpu.json; the exit
status is 1 if a run ended because of its disk, or a survivor without the sentence that it should tell.
"""

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ar_seg_jax import processes
from benchmarks import disks, kills, report

_HEARTBEAT = 4  # seconds
_CADENCES = {'log_every': 5, 'evaluate_every': 20, 'checkpoint_every': 10, 'pipeline.batch_size': 8, 'evaluation.pictures': 2}
_FAULT = 20.0  # seconds that a disk takes nothing
_STEP = re.compile(r'^step (\d+)/', re.MULTILINE)
_SENTENCE = re.compile('Another process ended or cannot be reached|not all processes of the run joined')


def _begin(directory: Path, shared: Path, log: Path, *more: str, environment: dict[str, str] | None = None) -> subprocess.Popen:
    """A run that trains until it is stopped. `shared`: where runs have data and compiled programs in common."""
    keys = {**_CADENCES, 'compilation_cache': shared / 'programs'}
    line = [
        *kills.command(directory, shared / 'data', 1_000_000),
        *(f'--config.{key}={value}' for key, value in keys.items()),
        *more,
    ]
    with log.open('w') as file:
        own = {**kills.ENVIRONMENT, **(environment or {})}
        return subprocess.Popen(line, cwd=kills.ROOT, env=own, stdout=file, stderr=subprocess.STDOUT)


def _last_step(log: Path) -> int:
    return int((_STEP.findall(log.read_text()) or [0])[-1])


def _await(run: subprocess.Popen, log: Path, step: int):
    while _last_step(log) < step:
        if run.poll() is not None:
            raise RuntimeError(f'the run ended before step {step}: {log.read_text()}')
        time.sleep(0.05)


def disk(fault, count: int, mended: bool, directory: Path) -> dict[str, Any]:
    """What a run of `count` processes does beside a disk that takes nothing, until it is stopped: then, or when that is over."""
    place, log = directory / 'disk', directory / 'disk.log'
    with disks.in_memory(place, megabytes=8):
        run = _begin(place / 'run', directory, log, f'--processes={count}')
        try:
            _await(run, log, 25)
            with contextlib.ExitStack() as stack:
                stack.enter_context(fault(place / 'run'))
                before, waits = _last_step(log), _longest_wait(run, log)
                during = _last_step(log) - before
                if mended:
                    stack.close()
                    _await(run, log, _last_step(log) + 20)
                run.send_signal(signal.SIGTERM)
                begun = time.monotonic()
                status, ended = run.wait(timeout=300), time.monotonic()
        finally:
            run.kill()
            run.wait()
    told = log.read_text()
    return {
        'steps during the fault': during,
        'longest time between two lines': round(waits, 1),
        'failed saves': told.count('Could not save step'),
        'files said once': told.count('Could not write'),
        'seconds to the end': round(ended - begun, 1),
        'status': status,
        'tracebacks': told.count('Traceback'),
        'as promised': during > 0 and 'Traceback' not in told and status == (os.EX_TEMPFAIL if mended else 1),
    }


def _longest_wait(run: subprocess.Popen, log: Path) -> float:
    """The longest time without a new line about a step, in seconds."""
    end, longest = time.monotonic() + _FAULT, 0.0
    step, since = _last_step(log), time.monotonic()
    while time.monotonic() < end and run.poll() is None:
        if (now := _last_step(log)) != step:
            step, since = now, time.monotonic()
        longest = max(longest, time.monotonic() - since)
        time.sleep(0.05)
    return longest


def loss(rng: random.Random, directory: Path, number: int) -> dict[str, Any]:
    """What the other one of two processes says, and when it ends, where one is killed or stopped at a random moment."""
    address = f'localhost:{processes.free_port()}'
    logs = [directory / f'loss_{number}_{index}.log' for index in range(2)]
    beat = f'--heartbeat_seconds={_HEARTBEAT}'
    pair = [
        _begin(directory / f'loss_{number}', directory, log, beat, environment=processes.environment(address, 2, index))
        for index, log in enumerate(logs)
    ]
    victim, fault = rng.randrange(2), rng.choice((signal.SIGKILL, signal.SIGSTOP))
    if number % 2:  # every second one while it trains, saves or evaluates
        try:
            _await(pair[0], logs[0], rng.randint(1, 60))
        except RuntimeError:  # on a busy machine one may join too late
            for process in pair:
                process.kill()
            return {'victim': victim, 'fault': fault.name, 'not begun': True, 'as promised': False}
    time.sleep(rng.uniform(0, 1 if number % 2 else 20))
    step = _last_step(logs[0])
    pair[victim].send_signal(fault)
    begun = time.monotonic()
    try:
        status = pair[1 - victim].wait(timeout=120)
    except subprocess.TimeoutExpired:
        status = None
    seconds = time.monotonic() - begun
    for process in pair:
        process.kill()
    told = logs[1 - victim].read_text()
    return {
        'victim': victim,
        'fault': fault.name,
        'after step': step,
        'status': status,
        'seconds': round(seconds, 1),
        'tracebacks': told.count('Traceback'),
        'as promised': bool(_SENTENCE.search(told)) and 'Traceback' not in told and status == 1,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--losses', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--directory', type=Path, required=True)
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    cases = [(fault, count, mended) for fault in (disks.full, disks.read_only) for count in (1, 2) for mended in (True, False)]
    found = {
        f'{fault.__name__}, {count} processes, {"mended" if mended else "to the end"}': disk(
            fault, count, mended, arguments.directory
        )
        for fault, count, mended in cases
    }
    rng = random.Random(arguments.seed)
    losses = [loss(rng, arguments.directory, number) for number in range(arguments.losses)]
    print(report.save('faults', {'disks': found, 'losses': losses, 'heartbeat seconds': _HEARTBEAT}))
    sys.exit(not all(one['as promised'] for one in (*found.values(), *losses)))


if __name__ == '__main__':
    main()
