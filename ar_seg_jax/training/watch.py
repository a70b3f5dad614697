"""What happens when steps are not applied."""

import dataclasses
import logging

import numpy as np

from ar_seg_jax.interfaces import Metrics
from ar_seg_jax.training.state import TrainState
from ar_seg_jax.training.step import Health, quantities

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Watch:
    """Tells of each step that was not applied; after `limit` of them in a row (0: never) the run ends.

    learning_rate: for the message.
    """

    limit: int
    learning_rate: float

    def check(self, step: int, metrics: Metrics, health: Health, state: TrainState):
        """Looks at a step; `state` is any state of the run. Raises FloatingPointError at the limit."""
        in_row = int(health.skipped_in_row)
        if not in_row:
            return
        names = list(quantities(metrics, state.params, state.params, state.extra))
        first = names[int(np.argmin(health.finite))]
        _logger.warning('Step %d was not applied: %s is not finite (%d in all)', step, first, health.skipped)
        if self.limit and in_row >= self.limit:
            raise FloatingPointError(
                f'{in_row} steps in a row, up to step {step}, were not applied; the first quantity that is not finite is '
                f'{first}. The learning rate is {self.learning_rate:g}: try a lower one (--config.learning_rate) in another '
                '--workdir. The last checkpoint is kept'
            )
