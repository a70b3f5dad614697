"""What docs/long_runs.md promises after each kind of fault, as a judgement of what was seen: '' or, in words, what is wrong."""

import os
import re
import signal

from benchmarks.soaking import runs
from benchmarks.soaking.life import Ending

# How long things may take, in seconds, on one core that other processes use too.
LIMITS = {
    'a start until its first step': 150.0,
    'going on': 20.0 + runs.SAVE,
    'the end after SIGTERM': 30.0 + runs.SAVE,
    'the end after a loss': 6.0 + runs.HEARTBEAT,
    'a refusal': 60.0,
    'the rest of a run': 300.0,
}
_LOST = re.compile('Another process ended or cannot be reached|not all processes of the run joined')
_DISK = re.compile('could not be written, and is lost|could not be saved|No space left|Read-only file system|is the disk full')
_TERMINATED = (-signal.SIGTERM, 128 + signal.SIGTERM)  # of one process, and of the one that began others


# Python cannot raise in a callback of its garbage collector what a signal asks for, and shows it instead; the run goes on.
_IGNORED = re.compile(r'Exception ignored in: <function _xla_gc_callback.*?^KeyboardInterrupt', re.DOTALL | re.MULTILINE)


def _in_any_case(ending: Ending, *statuses: int | None) -> str:
    if ending.hung:
        return 'it hung'
    if 'Traceback' in _IGNORED.sub('', ending.told):
        return 'it showed a traceback'
    if ending.status not in statuses:
        return f'its status is {ending.status}, expected one of {statuses}'
    return ''


def of_kill(ending: Ending) -> str:
    return _in_any_case(ending, -signal.SIGKILL, 0)


def of_sigterm(ending: Ending, several: bool, begun: bool) -> str:
    """Status 75, or 0 at the very end. What has not `begun` to train has nothing to save, and ends as any process does."""
    if not begun and several and ending.status == 1 and _LOST.search(ending.told):
        return _in_any_case(ending, 1)  # one of the two was gone before it joined, or before it took signals for requests
    return _in_any_case(ending, os.EX_TEMPFAIL, 0, *(() if begun else _TERMINATED))


def of_lost_starter(ending: Ending) -> str:
    """The processes that it began end too; they save, if they can."""
    return _in_any_case(ending, -signal.SIGKILL, 0)


def of_lost_peer(ending: Ending, at_end: bool) -> str:
    """The other process says its sentence, unless it was at its own end. `ending` is that of both."""
    if wrong := _in_any_case(ending, 128 + signal.SIGKILL, 1, *((0,) if at_end else ())):
        return wrong
    return '' if at_end or _LOST.search(ending.told) else 'the other process did not say why it ended'


def of_pause(ending: Ending) -> str:
    """Also of damage to compiled programs: it goes on, or has come to its end."""
    return _in_any_case(ending, None, 0)


def of_clock(ending: Ending, several: bool) -> str:
    """JAX may take one of several processes for lost, since it tells by the clock how long it has been silent."""
    if several and ending.status == 1 and _LOST.search(ending.told):
        return _in_any_case(ending, 1)
    return of_pause(ending)


def of_disk(ending: Ending) -> str:
    """It goes on; at its start or end it may say what it cannot write, and end with status 1."""
    if ending.status == 1 and _DISK.search(ending.told):
        return _in_any_case(ending, 1)
    return of_pause(ending)


def of_checkpoint(ending: Ending, others: bool, noticed: bool) -> str:
    """It is named and another one used, or was read back unharmed; where there are no others that is an error."""
    if noticed and not others:
        return _in_any_case(ending, 1) or ('' if 'nothing was deleted' in ending.told else 'it does not say that all are damaged')
    if wrong := of_pause(ending):
        return wrong
    return '' if 'Resuming after step' in ending.told else 'it did not go on from a checkpoint'


def of_refusal(ending: Ending, *words: str) -> str:
    """Status 1, and a message with all of these words."""
    missing = [word for word in words if word not in ending.told]
    return _in_any_case(ending, 1) or (f'its message lacks {missing[0]!r}' if missing else '')
