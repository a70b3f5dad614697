"""A method with one process or two: its run that nobody disturbs, and those that faults disturb until they end like it."""

import contextlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

from benchmarks import disks, ends
from benchmarks.soaking import promises, runs
from benchmarks.soaking.clock import Clock
from benchmarks.soaking.life import Ending, Life

_MEGABYTES = 24  # of the file system that a disturbed run writes to


class Course:
    """The disturbed run and its directories, of which the one of the run is a file system of its own.

    length: of each run, in steps. life: the present one of the disturbed run, or None. lost: step and kind of the records that
    damage to metrics.jsonl took.
    """

    def __init__(self, method: str, count: int, directory: Path, rng: random.Random, clock: Clock | None, length=runs.STEPS):
        self.method, self.count, self.rng, self.clock, self.length = method, count, rng, clock, length
        self.name = f'{method}, {count} process{"es" if count > 1 else ""}'
        self.directory, self._place = directory, directory / 'disk'
        self.images, self.data, self.programs = (directory / part for part in ('images', 'data', 'programs'))
        self.run, self._reference = self._place / 'run', directory / 'reference'
        self.life: Life | None = None
        self.undisturbed: Ending | None = None
        self.leaping = False  # whether the clock of the present life may
        self.lost: set[tuple[int, str]] = set()
        self.start_seconds = 5.0 * count  # until the first step, on one core
        self._lives = 0
        self._stack = contextlib.ExitStack()

    @property
    def several(self) -> bool:
        return self.count > 1

    def refer(self) -> Ending:
        """Runs without a fault, once; how that ended."""
        self.undisturbed = self.undisturbed or self._referred()
        return self.undisturbed

    def _referred(self) -> Ending:
        shutil.rmtree(self.directory, ignore_errors=True)
        runs.draw_images(self.images)
        data = self.directory / 'reference_data'
        line = runs.command(
            self.method, self.count, self.length, run=self._reference, images=self.images, data=data, programs=self.programs
        )
        with Life(line, self.directory / 'reference.log') as life:
            return life.ending(promises.LIMITS['the rest of a run'])

    @contextlib.contextmanager
    def disturbed(self):
        """Around one run from its beginning to its end, in new directories."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.lost.clear()
        with disks.in_memory(self._place, _MEGABYTES):
            try:
                yield
            finally:
                self.bury()

    def live(self, *flags: str, leaping: bool = False) -> Life:
        """Begins a life, with the same command and these flags more; perhaps with a clock that may leap."""
        self.bury()
        line = runs.command(
            self.method, self.count, self.length, run=self.run, images=self.images, data=self.data, programs=self.programs
        )
        self._lives += 1
        self.leaping, environment = leaping, self.clock.set_right() if leaping else {}
        log = self.directory / f'life_{self._lives:03d}.log'
        self.life = self._stack.enter_context(Life([*line, *flags], log, environment))
        return self.life

    def bury(self):
        """Ends what is left of a life."""
        self._stack.close()
        self.life = None

    def steps(self) -> list[int]:
        """Of the checkpoints of the disturbed run."""
        return sorted(int(path.name) for path in (self.run / 'checkpoints').glob('*') if path.name.isdecimal())

    @property
    def newest(self) -> int:
        """Step of the newest checkpoint; 0 if there is none."""
        return max(self.steps(), default=0)

    def aside(self, name: str) -> Path:
        """A place for what is to be brought back."""
        return self.directory / f'copy_of_{name}'

    def prepare_again(self):
        """Removes the prepared data."""
        shutil.rmtree(self.data)

    def saving(self) -> bool:
        return any((self.run / 'checkpoints').glob('*.orbax-checkpoint-tmp*'))

    def compared(self) -> dict[str, Any]:
        """What differs between the ends of the two runs; one that does not end like the other is kept."""
        step = self.length
        scores = [json.loads((run / 'evaluations' / f'{step:06d}.json').read_text()) for run in (self._reference, self.run)]
        found = {
            'arrays': ends.differing_arrays(self._reference, self.run, step),
            'records': ends.differing_records(self._reference, self.run, self.lost),
            'scores': int(scores[0] != scores[1]),
        }
        if any(found.values()):
            shutil.copytree(self.run, self.directory / f'differs_{self._lives:03d}')
        return found
