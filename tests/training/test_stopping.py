"""What signals do to a run: the first asks, the second ends."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import uvloop

from ar_seg_jax.training.delivery import Interrupted
from ar_seg_jax.training.stopping import Stop
from tests.support.feeds import mesh_of


def _until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_is_a_request(number):
    before = signal.getsignal(number)
    with Stop(mesh_of(1)) as stop:
        assert not stop.agreed()
        os.kill(os.getpid(), number)
        _until(stop.agreed)
        assert stop.signal is number
    assert signal.getsignal(number) is before


def test_who_was_told_to_ignore_the_end_of_a_terminal_does_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop(mesh_of(1)) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            _until(stop.agreed)
            assert stop.signal is signal.SIGTERM
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_request_is_heard_where_an_event_loop_takes_the_signals():
    async def asks():
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)

    with Stop(mesh_of(1)) as stop:
        uvloop.run(asks())
        _until(stop.agreed)


def test_work_is_left_before_the_item_after_the_request():
    passed = []
    with Stop(mesh_of(1)) as stop, pytest.raises(Interrupted):
        for item in stop.guard(range(9)):
            passed.append(item)
            if item == 2:
                os.kill(os.getpid(), signal.SIGTERM)
                _until(stop.agreed)
    assert passed == [0, 1, 2]
    assert list(Stop(mesh_of(1)).guard(range(3))) == [0, 1, 2]


def test_nobody_who_is_alone_waits_for_images_after_the_request():
    with Stop(mesh_of(1)) as stop, pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
        next(stop.delivered(iter(threading.Event().wait, None)))


def test_the_second_signal_ends_the_process_even_while_it_computes():
    program = """
import jax, time
from jax.sharding import AxisType
from ar_seg_jax.training.stopping import Stop
with Stop(jax.make_mesh((1,), ('data',), axis_types=(AxisType.Auto,))):
    print('ready', flush=True)
    jax.jit(lambda x: jax.lax.fori_loop(0, 10**9, lambda i, x: jax.numpy.sin(x), x))(jax.numpy.ones(1000)).block_until_ready()
"""
    process = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'ready\n'
    process.send_signal(signal.SIGTERM)
    assert 'SIGTERM: finishing the step' in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 128 + signal.SIGTERM
