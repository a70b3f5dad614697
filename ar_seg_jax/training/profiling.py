"""Traces of chosen steps for the profiler."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax


class Trace:
    """Writes a trace of the steps `first` to `last` to `directory`, where TensorBoard's profile plugin finds it."""

    def __init__(self, steps: tuple[int, int] | None, directory: Path):
        self._first, self._last = steps or (0, 0)  # there is no step 0
        self._directory = directory

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Around everything that belongs to a step."""
        if step == self._first:
            jax.profiler.start_trace(self._directory)
        with jax.profiler.StepTraceAnnotation('train', step_num=step):
            yield
        if step == self._last:
            jax.effects_barrier()
            jax.profiler.stop_trace()
