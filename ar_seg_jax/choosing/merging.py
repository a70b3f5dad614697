"""Many clusters brought to few afterwards, without labels and without training."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ar_seg_jax.choosing.criteria import pairs

_THIN = 0.8  # of the pixels of a cluster: so many near another one make it an outline, as in `evaluation.shapes`

Joint = Float[np.ndarray, 'clusters clusters']


class Map(NamedTuple):
    """The clusters of an image, and which of its pixels have data."""

    clusters: UInt8[np.ndarray, 'height width']
    counted: Bool[np.ndarray, 'height width']


def groups(maps: Sequence[Map], thinness: Sequence[float | None], distance: int, count: int) -> list[int]:
    """The group of each cluster, 0 to `count` - 1, in the order of their first clusters.

    Outlines (a thinness of more than 0.8) first join the cluster that they have most pairs of adjacent pixels with. Then two by
    two become one, those whose difference tells least: the mutual information of the groups of pixels `distance` apart loses
    least. The objective is that of AC, on the map itself in place of two views; merging by it is our own.
    """
    found = np.arange(len(thinness))
    touching = joint(maps, 1, len(thinness))
    np.fill_diagonal(touching, 0)
    for number, thin in enumerate(thinness):
        if thin is not None and thin > _THIN and len(set(found)) > count and touching[number].any():
            found[found == number] = found[int(touching[number].argmax())]
    apart = joint(maps, distance, len(thinness))
    while len(set(found)) > count:
        one, other = max(itertools.combinations(sorted(set(found.tolist())), 2), key=lambda pair: _kept(apart, found, *pair))
        found[found == other] = one
    return np.unique(_by_first(found), return_inverse=True)[1].tolist()


def joint(maps: Sequence[Map], distance: int, count: int) -> Joint:
    """How many pairs of pixels so far apart, along rows and columns and in both orders, are of each two clusters."""
    found = np.zeros((count, count))
    for one, axis in itertools.product(maps, (0, 1)):
        first, second = pairs(one.clusters, one.counted, axis, distance)
        found += np.bincount(first.astype(int) * count + second, minlength=count * count).reshape(count, count)
    return found + found.T


def information(joint: Joint) -> float:
    """Mutual information in nats; 0 of nothing."""
    shares = joint / max(joint.sum(), 1)
    product = shares.sum(1, keepdims=True) * shares.sum(0, keepdims=True)
    there = shares > 0
    return float((shares[there] * np.log(shares[there] / product[there])).sum())


def _kept(joint: Joint, found: Int[np.ndarray, 'clusters'], one: int, other: int) -> float:
    """The information that is left if two groups become one."""
    together = np.where(found == other, one, found)
    member = together[None] == np.unique(together)[:, None]
    return information(member @ joint @ member.T)


def _by_first(found: Int[np.ndarray, 'clusters']) -> Int[np.ndarray, 'clusters']:
    """Groups called by the first of their clusters."""
    return np.array([int(np.flatnonzero(found == group)[0]) for group in found])
