"""Processes that others start, and what becomes of them when these are gone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ar_seg_jax.processes import Children

ROOT = Path(__file__).parents[1]
CHILD = """
import time
from ar_seg_jax import processes
processes.end_with_parent()
print('ready', flush=True)
time.sleep(600)
"""
PARENT = f"""
import sys
from ar_seg_jax.processes import Children
with Children() as children:
    child = children.begin([sys.executable, '-c', {CHILD!r}])
    print(child.pid, flush=True)
    sys.exit(children.wait(child) != -15)
"""
LOADING = """
import multiprocessing, time
from absl import flags
from ar_seg_jax.data import pipeline
from tests.data.test_pipeline import _records

if __name__ == '__main__':
    flags.FLAGS(['loading'])
    iterator = pipeline.training_iterator(_records(12), crop_size=8, batch_size=4, seed=0, workers=2)
    next(iterator)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def _alive(pid):
    """Whether a process computes: one that nobody has waited for does not."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def _all_end(pids, seconds=30):
    end = time.monotonic() + seconds
    while any(map(_alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(_alive, pids))


def _begin(*command):
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_children_end_with_the_one_that_began_them(number):
    parent = _begin('-c', PARENT)
    pid = int(parent.stdout.readline())
    assert parent.stdout.readline() == 'ready\n'
    parent.send_signal(number)
    assert _all_end([pid])
    # A child without a handler ends by SIGHUP itself.
    assert parent.wait() == {signal.SIGKILL: -9, signal.SIGHUP: 1, signal.SIGTERM: 0}[number]


def test_loaders_end_with_the_one_that_trains(tmp_path):
    (tmp_path / 'loading.py').write_text(LOADING)
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    parent = subprocess.Popen([sys.executable, tmp_path / 'loading.py'], env=environment, stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) >= 2 and all(map(_alive, workers))
    parent.kill()
    parent.wait()
    assert _all_end(workers)


def test_a_child_lives_as_long_as_it_wants_while_the_other_does():
    with Children() as children:
        child = children.begin([sys.executable, '-c', CHILD.replace('600', '0.3')])
        assert children.wait(child) == 0
