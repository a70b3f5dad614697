"""Processes that this one starts: several of one run on this machine, and commands of a sweep."""

import contextlib
import multiprocessing
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from ar_seg_jax.errors import printable

_ERROR = re.compile(r'(error|[\w.]*(Error|Exception)): ')
_PARENT = 'AR_SEG_JAX_PARENT'  # environment variable: descriptor of a pipe that only the parent could write to
_GRACE = 300.0  # seconds that a process without its parent has to save


class Stopped(Exception):
    """Raised where a command was stopped by a signal, or not begun because of it."""


class Children:
    """Runs commands, from any thread; inside a `with`, the signals that ask for the end are handed on to those that live, and no
    more begin.

    Children are no part of the terminal's group, which would get Ctrl-C too, so that each gets every signal once. Those that
    call `end_with_parent` end when this process is gone, even by SIGKILL: the operating system then closes a pipe.
    """

    def __init__(self, environment: Mapping[str, str] | None = None):
        self._environment = {**os.environ, **(environment or {})}
        self._lock = threading.RLock()  # a second signal may come while the first is handed on
        self._living: set[subprocess.Popen] = set()
        self._stopping = False

    def __enter__(self) -> 'Children':
        self._reading, self._writing = os.pipe()
        self._before = {number: signal.signal(number, self.stop) for number in stop_signals()}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reading)
        os.close(self._writing)

    def begin(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, output: IO[bytes] | None = None
    ) -> subprocess.Popen:
        """Starts a command; raises Stopped if a signal asked for the end. Without an `output` it has that of this process."""
        streams = {'stdin': subprocess.DEVNULL, 'stdout': output, 'stderr': subprocess.STDOUT} if output else {}
        with self._lock:
            if self._stopping:
                raise Stopped
            own = {**self._environment, **(environment or {}), _PARENT: str(self._reading)}
            child = subprocess.Popen(command, start_new_session=True, env=own, pass_fds=(self._reading,), **streams)
            self._living.add(child)
        return child

    def wait(self, child: subprocess.Popen) -> int:
        """The exit status of a child, -n if signal n ended it."""
        status = child.wait()
        with self._lock:
            self._living.discard(child)
        return status

    def run(self, command: Sequence[str], log: Path) -> int:
        """The exit status of a command as `wait` gives it; the command and what it says are appended to `log`.

        Raises Stopped if a signal asked for the end, or if the command says so by its status.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open('ab') as output:
            output.write(f'$ {shlex.join(command)}\n'.encode())
            output.flush()
            return self.ended(self.begin(command, output=output))

    def ended(self, child: subprocess.Popen) -> int:
        """The exit status of a child as `wait` gives it; raises Stopped as `run` does."""
        status = self.wait(child)
        if status == os.EX_TEMPFAIL:
            self.stop(signal.SIGTERM)
        if status == os.EX_TEMPFAIL or (self._stopping and status):
            raise Stopped
        return status

    def stop(self, number: int, _=None):
        """Hands a signal on; nothing begins any more."""
        with self._lock:
            self._stopping = True
            for child in self._living:
                child.send_signal(number)


def reason(log: Path) -> str:
    """Why a command failed: the last line of its log that names an error, since JAX says more after it, or else the last line."""
    lines = [line for line in log.read_text(errors='replace').splitlines() if line.strip()]
    naming = [line for line in lines if _ERROR.match(line)]
    return printable((naming or lines or ['it is empty'])[-1])


def stop_signals() -> tuple[signal.Signals, ...]:
    """Those that ask for the end; SIGHUP is none where it is ignored, as below nohup."""
    hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return signal.SIGTERM, signal.SIGINT, *hang_up


def end_with_parent():
    """Where `Children` began this process, it gets SIGTERM when their process is gone, and is ended if it lives on."""

    def wait(reading: int):
        os.read(reading, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
        os._exit(128 + signal.SIGTERM)

    if reading := os.environ.pop(_PARENT, ''):
        threading.Thread(target=wait, args=(int(reading),), name='parent', daemon=True).start()


def end_worker_with_parent(*_):
    """For processes of `multiprocessing`, which have nothing to save: ends this one when the one that made it is gone."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, name='parent', daemon=True).start()


def start(count: int) -> int:
    """Runs this command as `count` processes that will join; the highest exit status, 128 + n where signal n ended one."""
    address = f'localhost:{free_port()}'
    command = [sys.executable, *sys.orig_argv[1:]]
    begun = []
    with Children() as children:
        with contextlib.suppress(Stopped):
            for index in range(count):
                begun.append(children.begin(command, environment(address, count, index)))
        # The highest tells most: a process that only lost another one says 1.
        return max((status if status >= 0 else 128 - status for status in map(children.wait, begun)), default=os.EX_TEMPFAIL)


def place() -> dict[str, str | int] | None:
    """Where this process stands among those that `start` or a user's environment describes; None if it is alone."""
    if 'JAX_PROCESS_ID' not in os.environ:
        return None
    return {
        'coordinator_address': os.environ['JAX_COORDINATOR_ADDRESS'],
        'num_processes': int(os.environ['JAX_NUM_PROCESSES']),
        'process_id': int(os.environ['JAX_PROCESS_ID']),
    }


def environment(address: str, count: int, index: int) -> dict[str, str]:
    """Variables that tell a process that it is one of so many, which meet at an address; see `place`."""
    # One GPU for each process; without GPUs this has no effect.
    own_device = {'JAX_LOCAL_DEVICE_IDS': str(index)}
    return own_device | {
        'JAX_COORDINATOR_ADDRESS': address,
        'JAX_NUM_PROCESSES': str(count),
        'JAX_PROCESS_ID': str(index),
    }


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        return probe.getsockname()[1]
