"""Processes that this one starts: several of one run on this machine, and commands of a sweep."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO


class Stopped(Exception):
    """Raised where a command was stopped by a signal, or not begun because of it."""


class Children:
    """Runs commands, from any thread; inside a `with`, SIGTERM and SIGINT are handed on to those that live, and no more begin.

    Children are no part of the terminal's group, which would get Ctrl-C too, so that each gets every signal once.
    """

    def __init__(self, environment: Mapping[str, str] | None = None):
        self._environment = {**os.environ, **(environment or {})}
        self._lock = threading.RLock()  # a second signal may come while the first is handed on
        self._living: set[subprocess.Popen] = set()
        self._stopping = False

    def __enter__(self) -> 'Children':
        self._before = {number: signal.signal(number, self.stop) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def begin(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, output: IO[bytes] | None = None
    ) -> subprocess.Popen:
        """Starts a command; raises Stopped if a signal asked for the end. Without an `output` it has that of this process."""
        streams = {'stdin': subprocess.DEVNULL, 'stdout': output, 'stderr': subprocess.STDOUT} if output else {}
        with self._lock:
            if self._stopping:
                raise Stopped
            own = {**self._environment, **(environment or {})}
            child = subprocess.Popen(command, start_new_session=True, env=own, **streams)
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
            status = self.wait(self.begin(command, output=output))
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


def start(count: int) -> int:
    """Runs this command as `count` processes that will join; the highest exit status, 128 + n where signal n ended one."""
    address = f'localhost:{_free_port()}'
    command = [sys.executable, *sys.orig_argv[1:]]
    begun = []
    with Children() as children:
        with contextlib.suppress(Stopped):
            for index in range(count):
                begun.append(children.begin(command, _environment(address, count, index)))
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


def _environment(address: str, count: int, index: int) -> dict[str, str]:
    # One GPU for each process; without GPUs this has no effect.
    own_device = {'JAX_LOCAL_DEVICE_IDS': str(index)}
    return own_device | {
        'JAX_COORDINATOR_ADDRESS': address,
        'JAX_NUM_PROCESSES': str(count),
        'JAX_PROCESS_ID': str(index),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        return probe.getsockname()[1]
