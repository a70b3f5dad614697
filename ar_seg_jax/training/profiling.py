"""Traces of chosen steps for the profiler."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp

_logger = logging.getLogger(__name__)


class Trace:
    """Writes a trace of the steps `first` to `last` to `directory`, where TensorBoard's profile plugin finds it.

    To be used in a `with`, at whose end a trace is written that did not come to its last step.
    """

    def __init__(self, steps: tuple[int, int] | None, directory: Path):
        self._first, self._last = steps or (0, 0)  # there is no step 0
        self._directory = directory
        self._running = False

    def __enter__(self) -> 'Trace':
        return self

    def __exit__(self, *_):
        self._stop()

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Around everything that belongs to a step."""
        if self._first <= step <= self._last and not self._running:
            jax.profiler.start_trace(self._directory)
            self._running = True
        with jax.profiler.StepTraceAnnotation('train', step_num=step):
            yield
        if step == self._last:
            self._stop()

    def _stop(self):
        if self._running:
            self._running = False
            jnp.zeros(()).block_until_ready()  # comes after what the devices still have to do
            try:
                jax.profiler.stop_trace()
            except (OSError, RuntimeError) as error:  # a disk that is full or read-only ends no training
                _logger.error('Could not write the trace to %s: %s', self._directory, error)
