"""What a run tells: lines or a progress bar for people, JSON lines and TensorBoard for programs."""

import contextlib
import functools
import json
import math
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from ar_seg_jax.training import records
from ar_seg_jax.training.board import Board
from ar_seg_jax.training.outputs import Outputs


class Evaluation(NamedTuple):
    """What an evaluation found: scalars by name, and a picture (height, width, 3) or None."""

    scalars: dict[str, float]
    picture: UInt8[np.ndarray, 'height width 3'] | None = None


class MetricWriter:
    """Scalars to `metrics.jsonl`, scalars and pictures to TensorBoard's files; process 0 writes.

    Each record has its step and its kind, 'training' or 'evaluation'; null stands for what is not finite. A run that goes
    on after step `start` drops later records, which an earlier one wrote after its last save.

    evaluated: whether the evaluation of step `start` is among the records; true on all processes or none.
    """

    def __init__(self, outputs: Outputs, start: int = 0, active: bool = True):
        self._path, self._outputs = outputs.directory / 'metrics.jsonl', outputs
        kept = [record for record in records.read(self._path) if record['step'] <= start]
        self.evaluated = any(record['step'] == start and record['kind'] == 'evaluation' for record in kept)
        self._board = None
        if active:
            outputs.write(self._path, ''.join(map(_as_json, kept)).encode())
            self._board = Board(outputs, start + 1)

    def training(self, step: int, scalars: dict[str, float]):
        self._write(step, 'training', scalars)

    def evaluation(self, step: int, found: Evaluation):
        self._write(step, 'evaluation', found.scalars)
        if self._board and found.picture is not None:
            self._board.picture('segmentation', found.picture, step)

    def _write(self, step: int, kind: str, scalars: dict[str, float]):
        if not self._board:
            return
        if reserved := scalars.keys() & {'step', 'kind'}:
            raise ValueError(f'a metric cannot be called {" or ".join(sorted(reserved))}, which every record has')
        finite = {name: value if math.isfinite(value) else None for name, value in scalars.items()}
        self._outputs.append(self._path, _as_json({'step': step, 'kind': kind, **finite}).encode())
        for name, value in finite.items():
            if value is not None:
                self._board.scalar(name, value, step)


def _as_json(record: dict[str, Any]) -> str:
    return json.dumps(record) + '\n'


class Progress:
    """Speed and time left from `start` to `steps`; on a terminal also a bar, below the lines that are logged.

    The first step is mostly compilation. The bar begins after it, and no time left follows from it.
    """

    def __init__(self, start: int, steps: int, batch_size: int, active: bool = True):
        self._steps, self._batch_size = steps, batch_size
        self._last_step, self._last_time, self._waited = start, time.perf_counter(), 0.0
        hidden = not (active and sys.stderr.isatty())
        self._make_bar = functools.partial(tqdm, total=steps, initial=start + 1, unit='step', dynamic_ncols=True, disable=hidden)
        self._bar: tqdm | None = None
        self._compiled = False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a step's wait for data."""
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    def step(self):
        if self._bar is None:
            self._bar = self._make_bar()
        else:
            self._bar.update()

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Around evaluations and saves, whose time is no training time."""
        begin = time.perf_counter()
        yield
        self._last_time += time.perf_counter() - begin

    def rates(self, step: int) -> dict[str, float]:
        """images/s, share of the time spent waiting for data, and seconds left, since the last call.

        The first call, whose time is that of compilation too, does not know the seconds left: NaN.
        """
        elapsed = max(time.perf_counter() - self._last_time, 1e-9)
        done = step - self._last_step
        rates = {
            'images_per_second': done * self._batch_size / elapsed,
            'data_wait_share': self._waited / elapsed,
            'seconds_left': (self._steps - step) * elapsed / max(done, 1) if self._compiled else math.nan,
        }
        self._compiled = True
        self._last_step, self._last_time, self._waited = step, time.perf_counter(), 0.0
        return rates

    def close(self):
        if self._bar is not None:
            self._bar.close()


def line(step: int, steps: int, scalars: dict[str, float], words: str) -> str:
    """One line of training metrics for people; `words` are the method's own."""
    parts = [f'step {step}/{steps}', f'loss {scalars["loss"]:.4f}', words]
    if scalars.get('skipped_steps'):
        parts.append(f'{scalars["skipped_steps"]:.0f} steps not applied')
    parts.append(f'{scalars["images_per_second"]:.1f} images/s')
    parts.append(f'waiting for data {scalars["data_wait_share"]:.0%}')
    if math.isfinite(scalars['seconds_left']):
        minutes, seconds = divmod(round(scalars['seconds_left']), 60)
        parts.append(f'{minutes}:{seconds:02d} left')
    return '  '.join(filter(None, parts))
