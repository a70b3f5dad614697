"""What the clusters of a run are called."""

import logging
from collections.abc import Sequence
from pathlib import Path

from ar_seg_jax.data.classes import Class, numbered
from ar_seg_jax.errors import UserError
from ar_seg_jax.runs import workdir

_logger = logging.getLogger(__name__)


def of_clusters(directory: Path, step: int, count: int) -> tuple[Sequence[int], tuple[Class, ...]]:
    """The class of each of so many clusters after a step, -1 for none, and the classes.

    They are those of the run's evaluation of this step; without one, or without labels, clusters have numbers. UserError for what
    does not fit together.
    """
    found = workdir.load_cluster_classes(directory, step)
    if found is None:
        _logger.info('Step %d was not evaluated with labels: clusters have numbers instead of names', step)
        return range(count), numbered('cluster', count)
    mapping, classes = found
    if len(mapping) != count:
        place = workdir.evaluation(directory, step)
        raise UserError(f'{place}: classes of {len(mapping)} clusters, but the model has {count}; evaluate the step again')
    return mapping, classes
