"""What a run tells: lines or a progress bar for people, JSON lines and TensorBoard for programs."""

import json
import math
import sys
import time
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm

# H(y) below this share of log K means that nearly all pixels are in one cluster.
_COLLAPSED = 0.1


def every(step: int, period: int) -> bool:
    """Whether something due every `period` steps is due after `step`; never for a period of 0."""
    return period > 0 and step % period == 0


class MetricWriter:
    """Scalars to `metrics.jsonl` and TensorBoard files in `workdir`; process 0 writes, the others do nothing."""

    def __init__(self, workdir: Path, active: bool = True):
        self._active = active
        if active:
            self._file = (workdir / 'metrics.jsonl').open('a')
            self._board = SummaryWriter(str(workdir / 'tensorboard'))

    def write(self, step: int, scalars: dict[str, float]):
        if self._active:
            self._file.write(json.dumps({'step': step, **scalars}) + '\n')
            self._file.flush()
            for name, value in scalars.items():
                self._board.add_scalar(name, value, step)

    def close(self):
        if self._active:
            self._file.close()
            self._board.close()


class Progress:
    """Speed and time left from `start` to `steps`; on a terminal also a bar, below the lines that are logged."""

    def __init__(self, start: int, steps: int, batch_size: int, active: bool = True):
        self._steps, self._batch_size = steps, batch_size
        self._last_step, self._last_time, self._waited = start, time.perf_counter(), 0.0
        hidden = not (active and sys.stderr.isatty())
        self._bar = tqdm(total=steps, initial=start, unit='step', dynamic_ncols=True, disable=hidden)

    def waited(self, seconds: float):
        """Time that a step waited for data."""
        self._waited += seconds

    def step(self):
        self._bar.update()

    def pause(self):
        """Leaves out the time since the last call of `rates` or `pause`: evaluations and saves are not training speed."""
        self._last_time = time.perf_counter()

    def rates(self, step: int) -> dict[str, float]:
        """images/s, share of the time spent waiting for data, and seconds left, since the last call."""
        elapsed = max(time.perf_counter() - self._last_time, 1e-9)
        done = step - self._last_step
        rates = {
            'images_per_second': done * self._batch_size / elapsed,
            'data_wait_share': self._waited / elapsed,
            'seconds_left': (self._steps - step) * elapsed / max(done, 1),
        }
        self._last_step, self._last_time, self._waited = step, time.perf_counter(), 0.0
        return rates

    def close(self):
        self._bar.close()


def describe(step: int, steps: int, scalars: dict[str, float]) -> str:
    """One line of training metrics for people; MI and entropies in nats."""
    minutes, seconds = divmod(round(scalars['seconds_left']), 60)
    parts = [f'step {step}/{steps}', f'loss {scalars["loss"]:.4f}']
    if 'mutual_information' in scalars:
        parts.append(f'MI {scalars["mutual_information"]:.4f} of at most {scalars["mutual_information_bound"]:.4f} nats')
        parts.append(f'H(y) {scalars["entropy"]:.3f}')
        parts.append(f"H(y|y') {scalars['conditional_entropy']:.3f}")
    parts.append(f'{scalars["images_per_second"]:.1f} images/s')
    parts.append(f'waiting for data {scalars["data_wait_share"]:.0%}')
    parts.append(f'{minutes}:{seconds:02d} left')
    return '  '.join(parts)


def collapse_warning(scalars: dict[str, float]) -> str | None:
    """What to say when the clusters have collapsed into one; None when they have not."""
    if scalars.get('entropy', math.inf) >= _COLLAPSED * scalars.get('mutual_information_bound', 0.0):
        return None
    return (
        f'Clusters have collapsed: H(y) is {scalars["entropy"]:.4f} of {scalars["mutual_information_bound"]:.4f} nats, nearly '
        'all pixels are in one cluster. Try another seed, a lower learning rate or an entropy weight above 1 '
        '(--config.method.entropy_weight).'
    )
