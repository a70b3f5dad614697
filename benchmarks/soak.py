"""Disturbs runs of every method by random faults until they have finished, and compares them with runs that nobody disturbed.

    python -m benchmarks.soak --faults 200 --seed 0 --directory DIR [--methods mixture,ac] [--processes 1]

Each method trains in one process and in two, and is begun again by the same command after each end. What is done to it is in
soaking/kinds.py and soaking/harms.py, and what is promised in soaking/promises.py. A seed chooses the faults and their moments,
but not how far a run is by then. The end is to be that of the undisturbed run: all arrays of the last checkpoint to the last bit,
all records of metrics up to times and rates, but for those that damage to their file took, and all scores.

It takes the rights of root and Linux, for disks that are full or read-only, and libfaketime (Debian's package of this name), for
clocks that leap; without it there are none. One core is enough: `taskset -c 1`. Writes benchmarks/results/soak_cpu.json after
every fault; the exit status is 1 if anything is not as promised.
"""

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.soaking import harms, moments, promises, runs
from benchmarks.soaking.clock import Clock
from benchmarks.soaking.course import Course
from benchmarks.soaking.harms import BETWEEN_LIVES
from benchmarks.soaking.kinds import WHILE_IT_LIVES, Seen
from benchmarks.soaking.life import Ending

_KINDS = WHILE_IT_LIVES | BETWEEN_LIVES
# In which it counts why a call failed: libfaketime loses that.
_OF_ERRORS = ('full disk', 'read-only disk')
_AT_ONCE = 4  # faults of a method, before it is the turn of the next one
_STUMBLES = 3  # ends without a fault, or of undisturbed runs, after which a run is given up


class Deck:
    """Kinds of faults in a random order, each equally often up to its weight."""

    def __init__(self, rng: random.Random, names: Sequence[str]):
        self._rng, self._names, self._cards = rng, names, []

    def drawn(self, course: Course) -> str:
        """The first of those that the course can meet now."""
        while not (fitting := [name for name in self._cards if self._fits(name, course)]):
            more = [name for name in self._names for _ in range(_KINDS[name].weight)]
            self._rng.shuffle(more)
            self._cards += more
        self._cards.remove(fitting[0])
        return fitting[0]

    def put_back(self, name: str):
        self._cards.insert(0, name)

    def _fits(self, name: str, course: Course) -> bool:
        if _KINDS[name].several and not course.several:
            return False
        if course.life and (name in _OF_ERRORS if course.leaping else name == 'clock'):
            return False
        return name in WHILE_IT_LIVES or (course.life is None and harms.possible(name, course))


class Figures:
    """What a soak found so far."""

    def __init__(self):
        self._begun = time.monotonic()
        self._met: list[dict[str, Any]] = []
        self._courses: dict[str, dict[str, Any]] = {}
        self.wrong: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._met)

    def fault(self, course: Course, kind: str, moment: str, seen: Seen):
        ending = seen.ending
        entry = {
            'run': course.name,
            'fault': kind,
            'moment': moment,
            'how': seen.how,
            'status': 'goes on' if ending.status is None else ending.status,
            'seconds': round(ending.seconds, 1),
            'tracebacks': ending.told.count('Traceback'),
            'as promised': not seen.wrong,
        }
        self._met.append(entry)
        if seen.wrong:
            self.wrong.append({**entry, 'wrong': seen.wrong, 'told': ending.told[-600:]})
        words = [f'{time.monotonic() - self._begun:6.0f} s', f'{len(self._met):4}', *(f'{value}' for value in entry.values())]
        print('  '.join(filter(None, words)), *([f'WRONG: {seen.wrong}'] if seen.wrong else []), flush=True)
        report.save('soak', self.summary())

    def end(self, course: Course, found: dict[str, int]):
        total = self._courses.setdefault(course.name, Counter())
        total.update({'runs': 1, **found})
        if any(found.values()):
            self.wrong.append({'run': course.name, 'wrong': 'its end is not that of the undisturbed run', 'differing': found})
        print(f'{course.name}: a run at its end, differing: {found}', flush=True)
        report.save('soak', self.summary())

    def trouble(self, course: Course, words: str, ending: Ending):
        """What went wrong without a fault."""
        self.wrong.append({'run': course.name, 'wrong': words, 'status': ending.status, 'told': ending.told[-600:]})
        print(f'{course.name}: WRONG: {words}: {ending.told[-600:]}', flush=True)

    def summary(self) -> dict[str, Any]:
        return {
            'faults': len(self._met),
            'minutes': round((time.monotonic() - self._begun) / 60, 1),
            'limits, seconds': promises.LIMITS,
            'kinds': {kind: self._of_kind(kind) for kind in _KINDS if any(entry['fault'] == kind for entry in self._met)},
            'runs': {
                name: {'faults': _counted(entry['fault'] for entry in self._met if entry['run'] == name), **found}
                for name, found in self._courses.items()
            },
            'not as promised': self.wrong,
        }

    def _of_kind(self, kind: str) -> dict[str, Any]:
        entries = [entry for entry in self._met if entry['fault'] == kind]
        found = {
            'faults': len(entries),
            'as promised': sum(entry['as promised'] for entry in entries),
            'longest, seconds': max(entry['seconds'] for entry in entries),
            'statuses': _counted(entry['status'] for entry in entries),
            'moments': _counted(entry['moment'] for entry in entries),
        }
        noticed = [entry['how'].rpartition(', ')[2] for entry in entries if kind in BETWEEN_LIVES]
        return found | ({'after that': _counted(noticed)} if noticed else {})


def _counted(values: Iterable[Any]) -> str:
    return ', '.join(f'{value}: {count}' for value, count in sorted(Counter(map(str, values)).items()))


def disturb(course: Course, deck: Deck, count: int, figures: Figures):
    """Runs of the course one after another, until it has met so many faults and the last run has finished."""
    reference = course.refer()
    if reference.status != 0:
        figures.trouble(course, 'the undisturbed run failed', reference)
        return
    last = len(figures) + count
    while len(figures) < last:
        with course.disturbed():
            if not _finished(course, deck, last, figures):
                return
            figures.end(course, course.compared())


def _finished(course: Course, deck: Deck, last: int, figures: Figures) -> bool:
    """Disturbs one run until it has finished; False if it ended again and again where nothing was done to it."""
    stumbles = 0
    while stumbles < _STUMBLES:
        if met := len(figures) < last:
            met = _met(course, deck, figures)
        else:
            (course.life or course.live()).ending(promises.LIMITS['the rest of a run'])
        life = course.life
        if life and life.status == 0:
            return True
        if life and (life.status is not None or (len(figures) >= last and not met)):
            if not met:
                stumbles += 1
                figures.trouble(course, 'it ended without a fault, or did not end', life.so_far())
            course.bury()
    return False


def _met(course: Course, deck: Deck, figures: Figures) -> bool:
    """Has the course meet a fault; False if the life was over before."""
    name = deck.drawn(course)
    moment = 'between lives'
    if name in WHILE_IT_LIVES:
        life = course.life or course.live(leaping=name == 'clock')
        if not (moment := moments.awaited(course)):
            deck.put_back(name)
            return False
        life.mark()
    figures.fault(course, name, moment, _KINDS[name].meet(course))
    return True


def soak(methods: Sequence[str], counts: Sequence[int], faults: int, seed: int, directory: Path) -> Figures:
    """As many faults, in turns of each method with each number of processes; what was found."""
    clock = Clock.found(directory / 'clock')
    if clock is None:
        print('libfaketime is not installed (Debian: apt-get install libfaketime): no clock leaps')
    figures = Figures()
    deck = Deck(random.Random(seed), [name for name in _KINDS if clock or name != 'clock'])
    courses = [
        Course(method, count, directory / f'{method}_{count}', random.Random(f'{seed} {method} {count}'), clock)
        for count in counts
        for method in methods
    ]
    while len(figures) < faults:
        before = len(figures)
        for course in courses:
            if own := min(_AT_ONCE, faults - len(figures)):
                disturb(course, deck, own, figures)
        if len(figures) == before:  # not even undisturbed runs come to their ends
            break
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--faults', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--methods', type=lambda text: text.split(','), default=list(runs.METHODS))
    parser.add_argument('--processes', type=int, choices=(1, 2), help='both, one after the other, if not given')
    parser.add_argument('--directory', type=Path, required=True)
    given = parser.parse_args()
    if unknown := [name for name in given.methods if name not in runs.METHODS]:
        parser.error(f'no method {unknown[0]!r}; the methods are {", ".join(runs.METHODS)}')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # runs under way are ended, and disks unmounted
    counts = (given.processes,) if given.processes else (1, 2)
    figures = soak(given.methods, counts, given.faults, given.seed, given.directory.absolute())
    found = figures.summary()
    titles = ('fault', 'times', 'as promised', 'longest, s', 'status')
    rows = [
        (kind, str(one['faults']), str(one['as promised']), str(one['longest, seconds']), one['statuses'])
        for kind, one in found['kinds'].items()
    ]
    print(report.table(titles, rows))
    print(f'{sum(one["runs"] for one in found["runs"].values())} runs; not as promised: {len(figures.wrong)}')
    return int(bool(figures.wrong))


if __name__ == '__main__':
    sys.exit(main())
