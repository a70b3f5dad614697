"""Waiting for data, but not for ever."""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ar_seg_jax.errors import Stalled

Item = TypeVar('Item')

PATIENCE = 300.0  # seconds that one item may take
_LOOK = 0.5  # seconds between two looks at whether the wait is still wanted


class Interrupted(Exception):
    """Raised where work is left at the request to stop."""


def delivered(items: Iterable[Item], leave: Callable[[], bool] = lambda: False, computed: bool = False) -> Iterator[Item]:
    """Passes on `items`, which a thread reads, one ahead.

    Raises Stalled if one does not come for PATIENCE, which no reader notices that hangs itself, and Interrupted once one is
    waited for while `leave` says so. Items that are `computed`, not read, may take any time.
    """
    read, left = queue.Queue(1), threading.Event()
    threading.Thread(target=_read, args=(items, read, left), name='data', daemon=True).start()
    try:
        while True:
            done, item, error = _next(read, leave, math.inf if computed else PATIENCE)
            if error is not None:
                raise error
            if done:
                return
            yield item
    finally:
        left.set()


def _next(read: queue.Queue, leave: Callable[[], bool], patience: float) -> tuple:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            return read.get(timeout=_LOOK)
        except queue.Empty:
            if leave():
                raise Interrupted from None
    raise Stalled(
        f'no images came for {patience:.0f} s: reading hangs, on a disk or file server that does not answer, or for want of '
        'memory (each of --config.pipeline.workers takes some); once that is mended the same command goes on'
    )


def _read(items: Iterable[Item], read: queue.Queue, left: threading.Event):
    """Puts (whether that was all, item, error) for each item, until nobody wants them any more."""

    def put(entry: tuple):
        while not left.is_set():
            try:
                return read.put(entry, timeout=_LOOK)
            except queue.Full:
                pass

    try:
        for item in items:
            put((False, item, None))
            if left.is_set():
                return
    except BaseException as error:  # it belongs to whoever asked for the items
        put((True, None, error))
    else:
        put((True, None, None))
