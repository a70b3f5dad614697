"""Seconds, measured side by side, or of the parts of a program."""

import dataclasses
import functools
import pkgutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Contestant:
    """What is timed.

    run: does the work once and waits for its end. facts: what was found out while it was made, for the results; of a limit of
    the device, the 'amount' of bytes or operations that a run takes.
    """

    name: str
    run: Callable[[], Any]
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


class Clock:
    """What calls take, without the calls that they make of other functions that are watched."""

    def __init__(self, now: Callable[[], float] = time.process_time):
        """now: seconds that have passed."""
        self._now = now
        self._inner = [0.0]  # seconds of the calls that each of those under way has made
        self.seconds: dict[str, list[float]] = {}

    def watched(self, part: str, function: Callable) -> Callable:
        """The same function, whose calls, one at a time, are timed as those of `part`."""
        spent = self.seconds.setdefault(part, [])

        @functools.wraps(function)
        def timed(*arguments, **options):
            begin = self._now()
            self._inner.append(0.0)
            try:
                return function(*arguments, **options)
            finally:
                whole = self._now() - begin
                spent.append(whole - self._inner.pop())
                self._inner[-1] += whole

        return timed

    def watch(self, parts: Mapping[str, Sequence[str]]):
        """From now on times the functions of each part, named as 'package.module.function' or 'package.module.Class.method'."""
        for part, names in parts.items():
            for name in names:
                place, _, function = name.rpartition('.')
                owner = pkgutil.resolve_name(place)
                setattr(owner, function, self.watched(part, getattr(owner, function)))


def interleave(contestants: Sequence[Contestant], rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of a run by name: median and spread of `rounds`, at least 2.

    Every round runs each of them once, in an order that rotates, so that what else the machine does meets all alike. One round
    more comes first, in which things warm up.
    """
    seconds = {contestant.name: [] for contestant in contestants}
    for index in range(rounds + 1):
        first = index % len(contestants)
        for contestant in (*contestants[first:], *contestants[:first]):
            seconds[contestant.name].append(once(contestant.run))
    return {name: spread(times[1:]) for name, times in seconds.items()}


def once(run: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and extremes of at least two values."""
    low, median, high = statistics.quantiles(values, n=4, method='inclusive')
    return {'min': min(values), 'quartile_1': low, 'median': median, 'quartile_3': high, 'max': max(values)}


def medians(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of each number of some things that have the same ones, in mappings of mappings."""
    return {
        key: medians([each[key] for each in found])
        if isinstance(value, Mapping)
        else statistics.median(each[key] for each in found)
        for key, value in found[0].items()
    }
