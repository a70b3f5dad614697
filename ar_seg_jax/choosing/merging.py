"""Many clusters brought to few afterwards, without labels and without training."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ar_seg_jax.choosing.criteria import pairs
from ar_seg_jax.evaluation import shapes
from ar_seg_jax.evaluation.shapes import Shape

Joint = Float[np.ndarray, 'clusters clusters']


class Map(NamedTuple):
    """The clusters of an image, and which of its pixels have data."""

    clusters: UInt8[np.ndarray, 'height width']
    counted: Bool[np.ndarray, 'height width']


def groups(maps: Sequence[Map], found: Sequence[Shape], distance: int, count: int) -> list[int]:
    """The group of each cluster, 0 to `count` - 1, in the order of their first clusters.

    Outlines (`shapes.is_outline`) first join the cluster that they have most pairs of adjacent pixels with. Then two by two
    become one, those whose difference tells least: the mutual information of the groups of pixels `distance` apart loses
    least. The objective is that of AC, on the map itself in place of two views; merging by it is our own.
    """
    group = np.arange(len(found))
    touching = joint(maps, 1, len(found))
    np.fill_diagonal(touching, 0)
    for number, shape in enumerate(found):
        outline = shapes.is_outline(shape, [*found[:number], *found[number + 1 :]])
        if outline and len(set(group)) > count and touching[number].any():
            group[group == number] = group[int(touching[number].argmax())]
    apart = joint(maps, distance, len(found))
    while len(set(group)) > count:
        one, other = max(itertools.combinations(sorted(set(group.tolist())), 2), key=lambda pair: _kept(apart, group, *pair))
        group[group == other] = one
    return np.unique(_by_first(group), return_inverse=True)[1].tolist()


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


def _kept(joint: Joint, group: Int[np.ndarray, 'clusters'], one: int, other: int) -> float:
    """The information that is left if two groups become one."""
    together = np.where(group == other, one, group)
    member = together[None] == np.unique(together)[:, None]
    return information(member @ joint @ member.T)


def _by_first(group: Int[np.ndarray, 'clusters']) -> Int[np.ndarray, 'clusters']:
    """Groups called by the first of their clusters."""
    return np.array([int(np.flatnonzero(group == one)[0]) for one in group])
