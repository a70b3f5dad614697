"""Disturbs runs of every method by random faults until they have finished, and compares them with runs that nobody disturbed.

    python -m benchmarks.soak --faults 200 --seed 0 --directory DIR [--methods mixture,ac] [--processes 1]

Each method trains in one process and in two, and is begun again by the same command after each end. What is done to it is in
soaking/kinds.py and soaking/harms.py, and what is promised in soaking/promises.py. A seed chooses the faults and their moments,
but not how far a run is by then. The end is to be that of the undisturbed run: all arrays of the last checkpoint to the last bit,
all records of metrics up to times and rates, but for those that damage to their file took, and all scores.

It takes the rights of root and Linux, for disks that are full or read-only, and libfaketime (Debian's package of this name), for
clocks that leap; without it there are none. One core is enough: `taskset -c 1`; more or fewer of them in between would change the
order of sums, and so all that follows. Writes benchmarks/results/soak_cpu.json after
every fault; the exit status is 1 if anything is not as promised.
"""

import argparse
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.soaking import harms, moments, promises, runs
from benchmarks.soaking.clock import Clock
from benchmarks.soaking.course import Course
from benchmarks.soaking.figures import KINDS, Figures
from benchmarks.soaking.kinds import WHILE_IT_LIVES

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
            more = [name for name in self._names for _ in range(KINDS[name].weight)]
            self._rng.shuffle(more)
            self._cards += more
        self._cards.remove(fitting[0])
        return fitting[0]

    def put_back(self, name: str):
        self._cards.insert(0, name)

    def _fits(self, name: str, course: Course) -> bool:
        if KINDS[name].several and not course.several:
            return False
        if course.life and (name in _OF_ERRORS if course.leaping else name == 'clock'):
            return False
        return name in WHILE_IT_LIVES or (course.life is None and harms.possible(name, course))


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
    figures.fault(course, name, moment, KINDS[name].meet(course))
    return True


def soak(methods: Sequence[str], counts: Sequence[int], faults: int, seed: int, directory: Path) -> Figures:
    """As many faults, in turns of each method with each number of processes; what was found."""
    clock = Clock.found(directory / 'clock')
    if clock is None:
        print('libfaketime is not installed (Debian: apt-get install libfaketime): no clock leaps')
    figures = Figures()
    deck = Deck(random.Random(seed), [name for name in KINDS if clock or name != 'clock'])
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
