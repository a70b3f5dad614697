"""Faults that come between two lives of a run: damage to files, and what the run says of it when it begins again.

Each of these begins the next life, and follows what is said where that is refused.
"""

import json
import re
from collections.abc import Iterable

from benchmarks.soaking import damage, kinds, promises, runs
from benchmarks.soaking.course import Course
from benchmarks.soaking.kinds import Kind, Seen
from benchmarks.soaking.promises import LIMITS

_LINE = re.compile(r'metrics\.jsonl, line (\d+)')


def checkpoint(course: Course) -> Seen:
    """A file of the newest checkpoint. Where there is no other one, it is brought back from a copy."""
    steps = course.steps()
    newest, copy = course.run / 'checkpoints' / str(steps[-1]), course.aside('checkpoint')
    kinds.restore(newest, copy)
    path = damage.any_file(newest, course.rng)
    how = f'{path.relative_to(newest)} {damage.harm(path, course.rng)}'
    ending = kinds.first_step(course)
    noticed = 'is damaged: ' in ending.told
    wrong = promises.of_checkpoint(ending, others=len(steps) > 1, noticed=noticed)
    if noticed and len(steps) == 1:
        kinds.restore(copy, newest)
    return Seen(ending, wrong, f'{how}, {"noticed" if noticed else "read unharmed"}')


def prepared(course: Course) -> Seen:
    """A file of the prepared data, which is removed and prepared again where that is noticed. Otherwise the end will tell."""
    path = damage.any_file(course.data, course.rng, '**/[!.]*')
    how = f'{path.name} {damage.harm(path, course.rng)}'
    last = min(course.newest + runs.EVALUATED_EVERY + 2, course.length)  # by then everything was read
    life = course.live()
    ending = life.after(life.reach(lambda: life.step() >= last, LIMITS['the rest of a run']))
    if ending.status in (None, 0):
        return Seen(ending, promises.of_pause(ending), f'{how}, read unharmed')
    course.prepare_again()
    return Seen(ending, promises.of_refusal(ending, 'prepare'), f'{how}, noticed')


def metrics(course: Course) -> Seen:
    """metrics.jsonl. A line that is refused is removed, as the message says; records that are gone are not made again."""
    path = course.run / 'metrics.jsonl'
    before = path.read_bytes().splitlines(keepends=True)
    how = damage.harm(path, course.rng)
    after = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    course.lost |= _keys(set(before) ^ set(after))
    ending = kinds.first_step(course)
    wrong, removed = '', 0
    while not wrong and ending.status == 1 and removed < 5:
        if not (wrong := promises.of_refusal(ending, 'metrics.jsonl, line', 'remove the line')):
            lines = path.read_bytes().splitlines(keepends=True)
            del lines[int(_LINE.search(ending.told)[1]) - 1]
            path.write_bytes(b''.join(lines))
            removed += 1
            ending = kinds.first_step(course)
    return Seen(ending, wrong or promises.of_pause(ending), f'{how}, {removed} lines refused')


def _keys(lines: Iterable[bytes]) -> set[tuple[int, str]]:
    """Step and kind of those that are records."""
    found = set()
    for line in lines:
        try:
            match json.loads(line):
                case {'step': step, 'kind': kind}:
                    found.add((step, kind))
        except ValueError:
            pass
    return found


def programs(course: Course) -> Seen:
    """A compiled program."""
    path = damage.any_file(course.programs, course.rng, '*-cache')
    how = damage.harm(path, course.rng)
    ending = kinds.first_step(course)
    told = 'said' if 'was damaged, and is compiled again' in ending.told else 'not said'
    return Seen(ending, promises.of_pause(ending), f'{how}, {told}')


def image(course: Course) -> Seen:
    """A truncated image, which the run must name; then it is as it was before, or only its content is."""
    rng, path = course.rng, damage.any_file(course.images / 'images', course.rng)
    content, before, bound = path.read_bytes(), path.stat(), bool(course.steps())
    path.write_bytes(content[: rng.randrange(len(content) // 2)])
    ending = kinds.refused(course)
    wrong = promises.of_refusal(ending, path.name, *(['--changed_data'] if bound else []))
    if bound and rng.random() < 0.5:
        wrong = wrong or promises.of_refusal(kinds.refused(course, '--changed_data'), f'{path}: ')
    path.write_bytes(content)
    with_time = rng.random() < 0.5
    if with_time:
        kinds.set_time(path, before)
    elif bound:
        wrong = wrong or promises.of_refusal(kinds.refused(course), path.name, '--changed_data')
    went_on = kinds.first_step(course, *(['--changed_data'] if bound and not with_time else []))
    return Seen(ending, wrong or promises.of_pause(went_on), 'restored with its time' if with_time else 'fetched again')


BETWEEN_LIVES = {
    'checkpoint': Kind(checkpoint),
    'prepared data': Kind(prepared),
    'metrics.jsonl': Kind(metrics),
    'compiled program': Kind(programs),
    'truncated image': Kind(image),
}


def possible(name: str, course: Course) -> bool:
    """Whether there is something that this could harm."""
    match name:
        case 'checkpoint' | 'metrics.jsonl':
            return bool(course.steps()) and (course.run / 'metrics.jsonl').exists()
        case 'prepared data':
            return bool(course.steps()) and any(course.data.glob('*/*/[0-9]*'))
    return True
