"""Maps from clusters to classes."""

import numpy as np
from jaxtyping import Int

from ar_seg_jax.data.classes import UNMATCHED


def one_to_one(confusion: Int[np.ndarray, 'clusters classes']) -> Int[np.ndarray, 'clusters']:
    """The class of each cluster that makes accuracy largest when no class is used twice (Hungarian matching).

    With more clusters than classes the clusters left over are UNMATCHED, and all their pixels count as wrong.
    """
    from scipy.optimize import linear_sum_assignment  # a quarter of a second, which no first step should wait for

    clusters, classes = linear_sum_assignment(confusion, maximize=True)
    mapping = np.full(confusion.shape[0], UNMATCHED)
    mapping[clusters] = classes
    return mapping


def many_to_one(confusion: Int[np.ndarray, 'clusters classes']) -> Int[np.ndarray, 'clusters']:
    """The commonest class of each cluster; UNMATCHED for a cluster without pixels."""
    return np.where(confusion.sum(1) > 0, confusion.argmax(1), UNMATCHED)
