"""What the loop tells, to people and to files at once."""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from ar_seg_jax.interfaces import Metrics
from ar_seg_jax.training import metrics
from ar_seg_jax.training.metrics import Evaluation, MetricWriter, Progress

_logger = logging.getLogger(__name__)


class Report:
    """To be used in a `with`, from the step `start` to `steps`; only one process is `active`.

    waiting and step: see `metrics.Progress`. evaluated: see `metrics.MetricWriter`.
    """

    def __init__(self, workdir: Path, start: int, steps: int, batch_size: int, active: bool):
        self._steps = steps
        self._writer = MetricWriter(workdir, start, active)
        self._progress = Progress(start, steps, batch_size, active)
        self.evaluated = self._writer.evaluated
        self.waiting, self.pause, self.step = self._progress.waiting, self._progress.pause, self._progress.step

    def __enter__(self) -> 'Report':
        with contextlib.ExitStack() as stack:
            stack.enter_context(logging_redirect_tqdm([logging.getLogger('ar_seg_jax')]))
            stack.callback(self._progress.close)
            stack.callback(self._writer.close)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._exit.close()

    def training(self, step: int, scalars: Metrics, recorded: bool):
        """A line about a step, and a record of it if it is `recorded`. Waits for the devices."""
        values = {name: float(value) for name, value in scalars.items()} | self._progress.rates(step)
        _logger.info(metrics.describe(step, self._steps, values))
        # An untrained network starts with nearly one cluster; that is no collapse yet.
        if step > 1 and (warning := metrics.collapse_warning(values)):
            _logger.warning(warning)
        if recorded:
            self._writer.training(step, values)

    def evaluation(self, step: int, evaluate: Callable[[], Evaluation]):
        """Evaluates, outside the time that counts for speed, and records what was found."""
        with self._progress.pause():
            self._writer.evaluation(step, evaluate())
