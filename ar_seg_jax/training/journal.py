"""What a training tells, to people and to files at once."""

import contextlib
import logging
from collections.abc import Callable, Mapping

from tqdm.contrib.logging import logging_redirect_tqdm

from ar_seg_jax.interfaces import Metrics, Remark
from ar_seg_jax.training import memory, metrics
from ar_seg_jax.training.metrics import Evaluation, MetricWriter, Progress
from ar_seg_jax.training.outputs import Outputs

Describe = Callable[[Mapping[str, float]], Remark]

_logger = logging.getLogger(__name__)


class Journal:
    """To be used in a `with`, from the step `start` to `steps`; only one process is `active`.

    describe: see `Method.describe`. progress: tells of every step. evaluated: see `metrics.MetricWriter`.
    """

    def __init__(self, outputs: Outputs, start: int, steps: int, batch_size: int, describe: Describe, active: bool):
        self._steps, self._describe = steps, describe
        self._writer = MetricWriter(outputs, start, active)
        self.progress = Progress(start, steps, batch_size, active)
        self.evaluated = self._writer.evaluated

    def __enter__(self) -> 'Journal':
        with contextlib.ExitStack() as stack:
            stack.enter_context(logging_redirect_tqdm([logging.getLogger('ar_seg_jax')]))
            stack.callback(self.progress.close)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._exit.close()

    def training(self, step: int, scalars: Metrics, recorded: bool):
        """A line about a step, and a record of it if it is `recorded`. Waits for the devices."""
        measured = self.progress.rates(step) | {'peak_bytes': float(memory.peak_bytes())}
        values = {name: float(value) for name, value in scalars.items()} | measured
        remark = self._describe(values)
        _logger.info(metrics.line(step, self._steps, values, remark.words))
        # An untrained network starts with nearly one cluster; that is no collapse yet.
        if step > 1 and remark.warning:
            _logger.warning(remark.warning)
        if recorded:
            self._writer.training(step, values)

    def evaluation(self, step: int, evaluate: Callable[[], Evaluation]):
        """Evaluates, outside the time that counts for speed, and records what was found."""
        with self.progress.pause():
            self._writer.evaluation(step, evaluate())
