"""What a run has needed of memory so far."""

import resource
import sys

import jax

_UNIT = 1 if sys.platform == 'darwin' else 1024  # bytes in which the system counts resident memory


def peak_bytes() -> int:
    """The most that this process has held at once: on the fullest of its accelerators, or, on CPU, of resident memory.

    On CPU that is all of the process, with its libraries, its programs as they were compiled, and images that were read ahead.
    """
    known = [statistics['peak_bytes_in_use'] for device in jax.local_devices() if (statistics := device.memory_stats())]
    return max(known, default=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT)
