"""Programs that are compiled during a training: announced, timed, and counted where none should be."""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Iterator

import jax
from jax import monitoring

from ar_seg_jax import files
from ar_seg_jax.errors import UserError
from ar_seg_jax.training.outputs import Outputs

_logger = logging.getLogger(__name__)

_COMPILED = '/jax/core/compile/backend_compile_duration'  # of each program, also of one that is found in the cache


class Compilation:
    """Around the steps of a training, in a `with`. Each phase is a program, which its first step compiles, or finds in the cache.

    What that took is kept in compilation.json of the run, by device and phase, and told before the next time. A later step that
    compiles something has got arrays of another form, which costs as much each time: that is a warning.

    again: steps so far that compiled although their phase had been.
    """

    def __init__(self, outputs: Outputs, active: bool):
        self._path, self._outputs, self._active = outputs.directory / 'compilation.json', outputs, active
        self._device = jax.devices()[0].device_kind
        self._begun: set[str] = set()
        self._thread, self._programs = threading.get_ident(), 0
        self.again = 0

    def __enter__(self) -> 'Compilation':
        monitoring.register_event_duration_secs_listener(self._heard)
        return self

    def __exit__(self, *_):
        monitoring.unregister_event_duration_listener(self._heard)
        if self.again > 1:
            _logger.warning('%d steps compiled something although their program was there', self.again)

    @contextlib.contextmanager
    def step(self, step: int, phase: str = '') -> Iterator[None]:
        """Around the call of a step."""
        first, programs, begin = phase not in self._begun, self._programs, time.perf_counter()
        if first:
            last = self._remembered().get(self._key(phase))
            of_phase, before = f' of phase {phase}' if phase else '', f', which took {last:.1f} s the last time' if last else ''
            _logger.info('Compiling the training step%s%s', of_phase, before)
        yield
        if first:
            self._begun.add(phase)
            self._remember(phase, time.perf_counter() - begin)
        elif self._programs > programs:
            self.again += 1
            if self.again == 1:
                _logger.warning(
                    'Step %d compiled its program again, in %.1f s: an array of the state or the batch has another shape or type '
                    'than before, or lies elsewhere. If that goes on, training is slow: please report it',
                    step,
                    time.perf_counter() - begin,
                )

    def _heard(self, event: str, duration: float, **_):
        if event == _COMPILED and threading.get_ident() == self._thread:
            self._programs += 1

    def _key(self, phase: str) -> str:
        return f'{self._device}: {phase}' if phase else self._device

    def _remember(self, phase: str, seconds: float):
        _logger.info('Compiled in %.1f s', seconds)
        if self._active:
            self._outputs.write(self._path, files.as_json({**self._remembered(), self._key(phase): round(seconds, 3)}))

    def _remembered(self) -> dict[str, float]:
        """Seconds, by device and phase; what is not of this form, as anybody may have written it, is left out."""
        try:
            found = files.read_json(self._path)
        except (OSError, UserError):
            return {}
        return {key: float(value) for key, value in found.items() if isinstance(value, int | float) and 0 <= value < math.inf}
