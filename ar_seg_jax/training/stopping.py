"""Pre-emption and Ctrl-C: the first signal is a request that the loop meets, the second ends the process at once."""

import logging
import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ar_seg_jax.training import sharding

_logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """Raised where work is left at the request to stop."""


class Stop:
    """Inside a `with`, the signals SIGTERM and SIGINT become a request; outside they do what they always do.

    A thread receives them, because a handler in Python would wait for a compilation or a step to end.
    """

    def __init__(self, mesh: Mesh):
        self.signal: signal.Signals | None = None
        self._sharding = sharding.split_batch(mesh)
        self._any = jax.jit(jnp.any, out_shardings=sharding.replicated(mesh))
        self._pending = None

    def __enter__(self) -> 'Stop':
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
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

    def _listen(self, reading: int):
        while received := os.read(reading, 1):
            number = received[0]
            if number not in _SIGNALS:
                continue
            if self.signal:
                _logger.warning('%s: ended at once; the last checkpoint is kept', signal.Signals(number).name)
                os._exit(128 + number)
            self.signal = signal.Signals(number)
            _logger.warning('%s: finishing the step, then saving; a second signal ends at once', self.signal.name)
        os.close(reading)
