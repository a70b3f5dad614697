"""Pre-emption and Ctrl-C: the first signal is a request that the loop meets, the second ends the process at once."""

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ar_seg_jax import processes, sharding
from ar_seg_jax.training.delivery import Interrupted, delivered

Item = TypeVar('Item')

_logger = logging.getLogger(__name__)

_FIRST = 'finishing the step, then saving; a second signal ends at once'


class Stop:
    """Inside a `with`, SIGTERM, SIGINT and SIGHUP become a request; outside they do what they always do.

    A thread receives them, because a handler in Python would wait for a compilation or a step to end. The handler counts too:
    while an event loop runs in the main thread (Orbax has one for reading and writing) the thread is not woken.
    """

    def __init__(self, mesh: Mesh):
        self.signal: signal.Signals | None = None
        self._received = Counter()
        self._sharding = sharding.split_batch(mesh)
        self._any = jax.jit(jnp.any, out_shardings=sharding.replicated(mesh))
        self._pending = None

    def __enter__(self) -> 'Stop':
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._before = {number: signal.signal(number, self._handle) for number in processes.stop_signals()}
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(reading,), daemon=True).start()
        return self

    def __exit__(self, *_):
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._writing)  # ends the thread

    def agreed(self) -> bool:
        """Whether to stop: the same answer on all processes, which must call this equally often.

        With several processes the request is that of the call before, so that nobody waits for the devices.
        """
        if jax.process_count() == 1:
            return self.signal is not None
        own = np.full(jax.local_device_count(), self.signal is not None)
        before, self._pending = self._pending, self._any(jax.make_array_from_process_local_data(self._sharding, own))
        return before is not None and bool(before)

    def delivered(self, items: Iterable[Item]) -> Iterator[Item]:
        """Passes on `items` as `delivery.delivered` does; one process alone need not wait for them after the request to stop."""
        return delivered(items, self._leaves)

    def computed(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same for what is computed, which may take any time."""
        return delivered(items, self._leaves, computed=True)

    def guard(self, items: Iterable[Item]) -> Iterator[Item]:
        """Passes on `items`, and raises Interrupted before one of them at the request to stop."""
        for item in self.delivered(items):
            if self.agreed():
                raise Interrupted
            yield item

    def _leaves(self) -> bool:
        return jax.process_count() == 1 and self.signal is not None

    def _listen(self, reading: int):
        while received := os.read(reading, 1):
            if received[0] in self._before:
                number = signal.Signals(received[0])
                told = 'ended at once; the last save is kept' if self._received['thread'] else _FIRST
                _logger.warning('%s: %s', number.name, told)
                self._count('thread', number)
        os.close(reading)

    def _handle(self, number, _):
        # Says nothing: it may have interrupted a line that is being written.
        self._count('handler', signal.Signals(number))

    def _count(self, receiver: str, number: signal.Signals):
        self._received[receiver] += 1
        if self._received[receiver] > 1:
            os._exit(128 + number)
        self.signal = number
