"""One life of a run: its processes, what they say, and how they end. Linux."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.soaking import runs

_STEP = re.compile(r'^step (\d+)/', re.MULTILINE)
_LOOK = 0.01  # seconds between two looks


class Ending(NamedTuple):
    """How a life went on or ended after a moment: the `status` of its command, None while it lives; after how many seconds; and
    what was said since. hung: whether that took longer than the limit."""

    status: int | None
    seconds: float
    told: str
    hung: bool = False


class Life:
    """Runs a command, which may start other processes, until the `with` ends.

    `mark` sets the moment that is looked back at.
    """

    def __init__(self, line: Sequence[str], log: Path, environment: Mapping[str, str] | None = None):
        self._log = log
        with log.open('w') as file:
            own = {**runs.ENVIRONMENT, **(environment or {})}
            self.process = subprocess.Popen(
                line, cwd=runs.ROOT, env=own, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.several = '--processes=2' in line
        self._known: list[int] = []  # processes that were begun
        self.mark()

    def __enter__(self) -> 'Life':
        return self

    def __exit__(self, *_):
        self.signal(self.all(), signal.SIGKILL)
        self.process.wait()
        self.wait_until(lambda: not any(map(_lives, self.members())), 10)

    def mark(self):
        self._offset, self._begun = len(self.told()), time.monotonic()

    def told(self) -> str:
        return self._log.read_text(errors='replace')

    def step(self) -> int:
        """The last one that it told of."""
        return int((_STEP.findall(self.told()) or [0])[-1])

    @property
    def status(self) -> int | None:
        return self.process.poll()

    def members(self) -> list[int]:
        """The processes that train, in their order: of several those that the first one began."""
        if not self.several:
            return [self.process.pid]
        with contextlib.suppress(OSError):
            found = Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text()
            self._known += [pid for pid in map(int, found.split()) if pid not in self._known]
        return self._known

    def all(self) -> list[int]:
        return [self.process.pid, *(pid for pid in self.members() if pid != self.process.pid)]

    def signal(self, pids: Iterable[int], number: int):
        for pid in pids:
            if self.process.pid != pid or self.status is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def wait_until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Whether that becomes true within this time."""
        end = time.monotonic() + seconds
        while not (found := true()) and time.monotonic() < end:
            time.sleep(_LOOK)
        return found

    def reach(self, true: Callable[[], bool], seconds: float) -> bool:
        """Whether that becomes true within this time, and before the life ends."""
        return self.wait_until(lambda: self.status is not None or true(), seconds) and (true() or self.status is None)

    def gone(self, pids: Sequence[int], seconds: float) -> bool:
        """Whether these processes end within this time."""
        return self.wait_until(lambda: not any(map(_lives, pids)), seconds)

    def so_far(self, hung: bool = False) -> Ending:
        """What there is to see since the mark."""
        return Ending(self.status, time.monotonic() - self._begun, self.told()[self._offset :], hung)

    def after(self, reached: bool) -> Ending:
        """The same, where something was waited for: a life that ended instead did not hang."""
        return self.so_far(hung=not reached and self.status is None)

    def ending(self, seconds: float) -> Ending:
        """What there is to see once all processes have ended, or this time is over."""
        return self.so_far(not self.wait_until(lambda: self.status is not None and not any(map(_lives, self.members())), seconds))


def _lives(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state not in 'ZX'
