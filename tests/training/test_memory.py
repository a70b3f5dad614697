"""What is said of memory against an array whose size is known."""

import subprocess
import sys

import jax

from ar_seg_jax.training import memory
from tests.support import commands

SIZE = 2**29  # bytes
PROGRAM = f"""
import numpy
from ar_seg_jax.training import memory
before = memory.peak_bytes()
held = numpy.ones({SIZE}, numpy.uint8)
with_it = memory.peak_bytes()
del held
print(before, with_it, memory.peak_bytes())
"""


def test_the_peak_grows_by_an_array_and_stays_when_it_is_gone():
    done = subprocess.run([sys.executable, '-c', PROGRAM], env=commands.environment(), capture_output=True, text=True, check=True)
    before, with_it, after = map(int, done.stdout.split())
    assert abs(with_it - before - SIZE) < SIZE / 10  # the system counts roughly
    assert abs(after - with_it) < SIZE / 10


def test_the_peak_of_accelerators_is_that_of_the_fullest(monkeypatch):
    class Device:
        def __init__(self, peak):
            self.memory_stats = lambda: peak and {'peak_bytes_in_use': peak}

    monkeypatch.setattr(jax, 'local_devices', lambda: [Device(5), Device(7), Device(None)])
    assert memory.peak_bytes() == 7
