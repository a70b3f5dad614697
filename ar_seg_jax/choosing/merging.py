"""Many clusters brought to few afterwards, without labels and without training."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import special

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
    member = group == np.unique(group)[:, None]
    return _merged(member.astype(int), joint(maps, distance, len(found)), count).argmax(0).tolist()


def _merged(member: Int[np.ndarray, 'groups clusters'], apart: Joint, count: int) -> Int[np.ndarray, '_ clusters']:
    """Which clusters are in each of `count` groups, in the order of their first clusters."""
    while len(member) > count:
        one, other = _cheapest(member @ apart @ member.T / max(apart.sum(), 1))
        member[one] += member[other]
        member = np.delete(member, other, axis=0)
    return member[np.argsort(member.argmax(1))]


def _cheapest(shares: Joint) -> tuple[int, int]:
    """The two groups whose union loses least information; only their rows and columns change."""
    marginals = shares.sum(1)
    losses = {}
    for one, other in itertools.combinations(range(len(shares)), 2):
        rest = np.delete(np.arange(len(shares)), (one, other))
        pair = shares[[one, other]][:, [one, other]]
        before = 2 * _entropy(shares[[one, other]][:, rest]) + _entropy(pair) - 2 * _entropy(marginals[[one, other]])
        after = (
            2 * _entropy(shares[one, rest] + shares[other, rest])
            + _entropy(pair.sum())
            - 2 * _entropy(marginals[[one, other]].sum())
        )
        losses[one, other] = after - before
    return min(losses, key=losses.get)


def _entropy(shares: Float[np.ndarray, '...'] | float) -> float:
    """Of these terms alone, in nats."""
    return float(special.entr(shares).sum())


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
