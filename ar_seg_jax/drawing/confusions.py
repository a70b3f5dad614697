"""Who is confused with whom, as a table that is drawn or written."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ar_seg_jax.data.classes import UNMATCHED, Class

_LONGEST_NAME = 28  # characters

Confusion = Int[np.ndarray, 'clusters classes']


class Shares(NamedTuple):
    """Shares of the pixels of each class, so that columns sum to one; NaN in the column of a class without pixels.

    Clusters are rows, in the order of their classes and those without a class last, so that what is right goes down from the
    top left.
    """

    rows: list[str]
    columns: list[str]
    values: Float[np.ndarray, 'clusters classes']


def shares(confusion: Confusion, mapping: Int[np.ndarray, 'clusters'], classes: Sequence[Class]) -> Shares:
    """Of counts of pixels; mapping: the class of each cluster. Long names are clipped."""
    order = np.argsort(np.where(mapping == UNMATCHED, len(classes), mapping), kind='stable')
    rows = [_cluster_name(index, int(mapping[index]), classes) for index in order.tolist()]
    with np.errstate(invalid='ignore'):
        values = confusion / confusion.sum(0, keepdims=True)
    return Shares(rows, [_clip(entry.name) for entry in classes], values[order])


def _cluster_name(cluster: int, of_class: int, classes: Sequence[Class]) -> str:
    return f'cluster {cluster} ({"no class" if of_class == UNMATCHED else _clip(classes[of_class].name)})'


def _clip(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f'{name[: _LONGEST_NAME - 1]}…'
