"""The kinds of faults of a soak: what is done to a run, and what is then seen of it."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import disks
from benchmarks.soaking import promises, runs
from benchmarks.soaking.course import Course
from benchmarks.soaking.life import Ending
from benchmarks.soaking.promises import LIMITS


class Seen(NamedTuple):
    """wrong: what is not as promised, in words. how: what was done or noticed, where that was drawn."""

    ending: Ending
    wrong: str
    how: str = ''


class Kind(NamedTuple):
    """meet: does it to the present life. several: whether only runs of several processes have it."""

    meet: Callable[[Course], Seen]
    several: bool = False
    weight: int = 1


def kill(course: Course) -> Seen:
    """All processes at once, as when the power fails."""
    course.life.signal(course.life.all(), signal.SIGKILL)
    ending = course.life.ending(LIMITS['the end after a loss'])
    return Seen(ending, promises.of_kill(ending))


def sigterm(course: Course) -> Seen:
    life = course.life
    begun = 'Checkpoints: ' in life.told()
    life.signal([life.process.pid], signal.SIGTERM)
    ending = life.ending(LIMITS['the end after SIGTERM'])
    return Seen(ending, promises.of_sigterm(ending, course.several, begun))


def lost_starter(course: Course) -> Seen:
    """SIGKILL for the process that began those that train."""
    course.life.members()
    course.life.signal([course.life.process.pid], signal.SIGKILL)
    ending = course.life.ending(LIMITS['the end after SIGTERM'])
    return Seen(ending, promises.of_lost_starter(ending))


def lost_peer(course: Course) -> Seen:
    """SIGKILL for one of two."""
    life = course.life
    victim = course.rng.choice(_both(course))
    at_end = life.step() >= course.length
    life.mark()
    life.signal([victim], signal.SIGKILL)
    ending = life.ending(LIMITS['the end after a loss'])
    return Seen(ending, promises.of_lost_peer(ending, at_end), f'process {life.members().index(victim)}')


def stopped_peer(course: Course) -> Seen:
    """SIGSTOP for one of two, until the other one has ended; then it goes on, and ends too."""
    life = course.life
    victim = course.rng.choice(both := _both(course))
    at_end = life.step() >= course.length
    life.mark()
    life.signal([victim], signal.SIGSTOP)
    gone = life.gone([pid for pid in both if pid != victim], LIMITS['the end after a loss'])
    seen = life.so_far(hung=not gone)
    life.signal([victim], signal.SIGCONT)
    ending = life.ending(LIMITS['the end after a loss'])
    found = Ending(ending.status, seen.seconds, ending.told, seen.hung or ending.hung)
    return Seen(found, promises.of_lost_peer(found, at_end), f'process {both.index(victim)}')


def pause(course: Course) -> Seen:
    """SIGSTOP for all, then SIGCONT, before anybody could take anybody for lost."""
    life = course.life
    life.signal(stopped := life.all(), signal.SIGSTOP)
    time.sleep(course.rng.uniform(0.3, runs.HEARTBEAT / 4))
    life.mark()
    life.signal(stopped, signal.SIGCONT)
    ending = _goes_on(course)
    return Seen(ending, promises.of_pause(ending))


def full_disk(course: Course) -> Seen:
    return _disk(course, disks.full)


def read_only_disk(course: Course) -> Seen:
    course.life.reach((course.run / 'metrics.jsonl').exists, LIMITS['a start until its first step'])
    return _disk(course, disks.read_only)


def _disk(course: Course, fault) -> Seen:
    life = course.life
    before = life.step()
    with fault(course.run):
        life.reach(lambda: False, course.rng.uniform(0.3, 2))
        during = life.step() - before
    ending = _goes_on(course)
    return Seen(ending, promises.of_disk(ending), f'{during} steps meanwhile')


def clock(course: Course) -> Seen:
    """A leap of up to four days."""
    hours = course.rng.choice((-1, 1)) * course.rng.uniform(0.5, 100)
    course.clock.leap(hours)
    course.life.reach(lambda: False, 1.5)  # until it has looked
    ending = _goes_on(course)
    return Seen(ending, promises.of_clock(ending, course.several), f'{hours:+.1f} hours')


def _goes_on(course: Course) -> Ending:
    """Until the next line about a step, or the end."""
    life = course.life
    step = life.step()
    limit = LIMITS['going on' if 0 < step < course.length else 'a start until its first step']
    return life.after(life.reach(lambda: course.length > life.step() > step, limit))


def _both(course: Course) -> list[int]:
    course.life.reach(lambda: len(course.life.members()) == course.count, LIMITS['a start until its first step'])
    return course.life.members()


def first_step(course: Course, *flags: str) -> Ending:
    """Begins a life, until its first step or its end."""
    life = course.live(*flags)
    return life.after(life.reach(lambda: life.step() > 0, LIMITS['a start until its first step']))


def refused(course: Course, *flags: str) -> Ending:
    """Begins a life that is to end before its first step."""
    life = course.live(*flags)
    return life.ending(LIMITS['a refusal'])


def restore(copy: Path, place: Path):
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(copy, place)


def set_time(path: Path, before: os.stat_result):
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


WHILE_IT_LIVES = {
    'kill': Kind(kill, weight=2),
    'SIGTERM': Kind(sigterm, weight=2),
    'starter killed': Kind(lost_starter, several=True),
    'peer killed': Kind(lost_peer, several=True, weight=2),
    'peer stopped': Kind(stopped_peer, several=True),
    'stop': Kind(pause, weight=2),
    'full disk': Kind(full_disk, weight=2),
    'read-only disk': Kind(read_only_disk, weight=2),
    'clock': Kind(clock),
}
