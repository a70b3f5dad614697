"""What a run needs of a machine: devices that compute right, disk, memory, and a cache to trust."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ar_seg_jax import files
from ar_seg_jax.runs import programs
from ar_seg_jax.training import devices

_SIDE, _LARGE_SIDE = 1024, 4096  # of the matrices that are multiplied on CPUs, and on accelerators
_SECONDS = 1.0  # of multiplication on each device
_TOLERANCE = 1e-4  # of an entry, relative to the length of its row times that of its column
_DISK, _MEMORY = 2e9, 2e9  # bytes below which there is too little
# Of Linux: the memory of the machine, and in a container what its processes may have together.
_MEMINFO, _CGROUP = Path('/proc/meminfo'), Path('/sys/fs/cgroup')


class Finding(NamedTuple):
    """What was looked at and found, in words; `advice` is what to do, or '' if all is well."""

    subject: str
    words: str
    advice: str = ''


def findings(data_dir: str) -> Iterator[Finding]:
    """All that there is to say, one after another. data_dir: of prepared data."""
    found, of_devices = seen()
    yield of_devices
    yield from map(computed, found)
    yield from memory({str(device): device.memory_stats() for device in found})
    compiled = files.expanded(programs.own())
    for purpose, directory in (
        ('runs', Path.cwd()),
        ('prepared data (--config.data.data_dir)', files.expanded(data_dir).absolute()),
        ('compiled programs (--config.compilation_cache)', compiled),
    ):
        yield disk(purpose, directory)
    yield cache(compiled)


def seen() -> tuple[list[jax.Device], Finding]:
    """The devices of this process, and whether they are those that it should have."""
    try:
        found = jax.local_devices()
    except RuntimeError as error:  # of a platform that JAX_PLATFORMS names and that cannot be started
        advice = f'Unset JAX_PLATFORMS, or make that platform work. {devices.ADVICE}'
        return [], Finding('devices', _first_line(error), advice)
    cores = f', {os.cpu_count()} cores' if found[0].platform == 'cpu' else ''
    words = f'{len(found)} x {found[0].device_kind}{cores}'
    if missed := devices.unused_nvidia():
        return found, Finding('devices', f'{words}, although there is an NVIDIA device ({missed})', devices.ADVICE)
    return found, Finding('devices', words)


def computed(device: jax.Device, multiply: Callable = jnp.matmul) -> Finding:
    """Whether a device multiplies matrices right, by NumPy, and how fast."""
    side = _SIDE if device.platform == 'cpu' else _LARGE_SIDE
    try:
        error, speed = _multiplied(device, side, multiply)
    except RuntimeError as failed:  # of XLA, where there is no memory, or a library is missing
        advice = 'If memory is short, another program may have it (nvidia-smi): end that. If not, install JAX and the driver anew'
        return Finding('computing', f'{device}: {_first_line(failed)}', advice)
    words = f'{device}: {side} x {side} matrices at {speed / 1e9:,.0f} GFLOP/s, float32, relative error {error:.0e}'
    if not error <= _TOLERANCE:  # nor NaN
        advice = 'The device or its driver computes wrong: use another device, and test the memory of this one'
        return Finding('computing', f'{words} of at most {_TOLERANCE:.0e}', advice)
    return Finding('computing', words)


def _multiplied(device: jax.Device, side: int, multiply: Callable) -> tuple[float, float]:
    """The largest error of an entry, see `_TOLERANCE`, and operations per second."""
    rng = np.random.default_rng(0)
    left, right = (rng.normal(size=(side, side)).astype(np.float32) for _ in range(2))
    scale = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=0)[None]
    one, other = jax.device_put((left, right), device)
    product = jax.jit(lambda one, other: multiply(one, other, precision='highest'))
    error = float(np.max(np.abs(product(one, other) - left @ right) / scale))
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < _SECONDS:
        product(one, other).block_until_ready()
        count += 1
    return error, 2 * side**3 * count / (time.perf_counter() - begin)


def disk(purpose: str, directory: Path) -> Finding:
    """Whether there is room in a directory, which need not be there yet, and whether files can be made in it."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    usage = shutil.disk_usage(there)
    words = f'{directory}, for {purpose}: {usage.free / 1e9:,.1f} GB of {usage.total / 1e9:,.1f} free'
    if not there.is_dir():
        return Finding('disk', f'{words}, but {there} is a file', 'Move it, or choose another directory')
    if not os.access(there, os.W_OK):
        return Finding(
            'disk', f'{words}, but this user cannot write there', 'Choose another directory, or have this one made yours'
        )
    if usage.free < _DISK:
        return Finding(
            'disk', words, 'Free some, such as prepared data that nothing uses (ar-seg clean), or choose another directory'
        )
    return Finding('disk', words)


def memory(
    statistics: Mapping[str, Mapping[str, int] | None], meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP
) -> Iterator[Finding]:
    """What is left of the memory of the machine, or of what this process may have of it, and of accelerators, by their statistics
    as JAX has them."""
    if (free := _free(meminfo, cgroup)) is not None:
        advice = 'End other programs, or take smaller batches: --config.pipeline.batch_size, --config.pipeline.micro_batches'
        yield Finding('memory', f'{free / 1e9:,.1f} GB available', advice if free < _MEMORY else '')
    for device, known in statistics.items():
        if known:
            limit, used = known['bytes_limit'], known['bytes_in_use']
            advice = 'Another program may have it (nvidia-smi); end that, or take smaller batches: --config.pipeline.batch_size'
            words = f'{device}: {(limit - used) / 1e9:,.1f} GB of {limit / 1e9:,.1f} that JAX may take'
            yield Finding('memory', words, advice if limit - used < _MEMORY else '')


def _free(meminfo: Path, cgroup: Path) -> int | None:
    """Bytes; None where nobody tells."""
    known = []
    if meminfo.exists() and (available := re.search(r'MemAvailable:\s*(\d+) kB', meminfo.read_text())):
        known.append(1024 * int(available[1]))
    limit, used = cgroup / 'memory.max', cgroup / 'memory.current'
    if limit.exists() and used.exists() and (most := limit.read_text().strip()).isdecimal():
        known.append(int(most) - int(used.read_text()))
    return min(known, default=None)


def cache(directory: Path) -> Finding:
    """Whether compiled programs are kept."""
    try:
        reason = programs.distrust(directory) if directory.exists() else ''
    except OSError as error:
        reason = str(error)
    if reason:
        advice = (
            'Every run compiles anew: have the directory made yours alone (chmod 700), or name another --config.compilation_cache'
        )
        return Finding('compiled programs', reason, advice)
    kept = list(directory.glob('*')) if directory.exists() else []
    size = sum(path.stat().st_size for path in kept if path.is_file())
    return Finding('compiled programs', f'{len(kept)} files, {size / 1e6:,.0f} MB in {directory}')


def _first_line(error: Exception) -> str:
    """What JAX says first; more is for those who know it."""
    return str(error).partition('\n')[0]
