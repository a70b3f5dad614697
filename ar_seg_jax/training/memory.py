"""What a run has needed of memory so far."""

import re
import resource
import sys
from pathlib import Path

import jax

_STATUS = Path('/proc/self/status')  # of Linux
_UNIT = 1 if sys.platform == 'darwin' else 1024  # bytes in which other systems count resident memory


def peak_bytes() -> int:
    """The most that this process has held at once: on the fullest of its accelerators, or, on CPU, of resident memory.

    On CPU that is all of the process, with its libraries, its programs as they were compiled, and images that were read ahead.
    """
    known = [statistics['peak_bytes_in_use'] for device in jax.local_devices() if (statistics := device.memory_stats())]
    return max(known) if known else _resident()


def _resident() -> int:
    """From Linux itself where that is the system: `getrusage` begins with what the process had that started this one."""
    if _STATUS.exists() and (found := re.search(r'VmHWM:\s*(\d+) kB', _STATUS.read_text())):
        return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
