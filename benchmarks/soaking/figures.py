"""What a soak found: printed as it goes, and written to a small file after every fault."""

import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.soaking import promises
from benchmarks.soaking.course import Course
from benchmarks.soaking.harms import BETWEEN_LIVES
from benchmarks.soaking.kinds import WHILE_IT_LIVES, Seen
from benchmarks.soaking.life import Ending

_ROOT = Path(__file__).parents[2]
_LONGEST = 12_000  # characters: the tracebacks of two processes, whose ends say what went wrong

KINDS = WHILE_IT_LIVES | BETWEEN_LIVES


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
            self.wrong.append({**entry, 'wrong': seen.wrong, 'told': _excerpt(course, ending)})
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
        self.wrong.append({'run': course.name, 'wrong': words, 'status': ending.status, 'told': _excerpt(course, ending)})
        print(f'{course.name}: WRONG: {words}: {_excerpt(course, ending)}', flush=True)

    def summary(self) -> dict[str, Any]:
        return {
            'faults': len(self._met),
            'minutes': round((time.monotonic() - self._begun) / 60, 1),
            'limits, seconds': promises.LIMITS,
            'kinds': {kind: self._of_kind(kind) for kind in KINDS if any(entry['fault'] == kind for entry in self._met)},
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


def _excerpt(course: Course, ending: Ending) -> str:
    """The end of what was said, with the first traceback and what led to it, without the places of this machine."""
    found = ending.told.find('Traceback')
    shown = ending.told[-600:] if found < 0 else ending.told[max(0, found - 300) :][:_LONGEST]
    for place, name in ((course.directory, 'DIR'), (sys.prefix, 'PYTHON'), (sys.base_prefix, 'PYTHON'), (_ROOT, 'REPOSITORY')):
        shown = shown.replace(str(place), name)
    return shown
