"""Commands that run as processes of their own until they end or are asked to."""

import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path


class Stopped(Exception):
    """Raised where a command was stopped by a signal, or not begun because of it."""


class Children:
    """Runs commands, `jobs` of them at once, from any thread; inside a `with`, SIGTERM and SIGINT are handed on to those that
    live, and no more begin.

    Children are no part of the terminal's group, which would get Ctrl-C too, so that each gets every signal once.
    """

    def __init__(self, jobs: int = 1):
        # Each of several on one accelerator would take most of its memory.
        share = {'XLA_PYTHON_CLIENT_MEM_FRACTION': f'{0.9 / jobs:.3f}'} if jobs > 1 else {}
        self._environment = share | dict(os.environ)
        self._lock = threading.RLock()  # a second signal may come while the first is handed on
        self._living: set[subprocess.Popen] = set()
        self._stopping = False

    def __enter__(self) -> 'Children':
        self._before = {number: signal.signal(number, self.stop) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, command: Sequence[str], log: Path) -> int:
        """The exit status of a command, -n if signal n ended it; the command and what it says are appended to `log`.

        Raises Stopped if a signal asked for the end, or if the command says so by its status.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open('ab') as output:
            with self._lock:
                if self._stopping:
                    raise Stopped
                output.write(f'$ {shlex.join(command)}\n'.encode())
                output.flush()
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=self._environment,
                )
                self._living.add(child)
            status = child.wait()
        with self._lock:
            self._living.discard(child)
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
