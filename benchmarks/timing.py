"""Seconds, measured side by side."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
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
