"""Criteria without labels, recomputed in plain loops and on maps whose values are known."""

import math

import numpy as np
import pytest

from ar_seg_jax.choosing import criteria
from ar_seg_jax.choosing.criteria import Look

RNG = np.random.default_rng(0)


def _maps(count=3, clusters=3, size=(12, 15)):
    return [RNG.integers(0, clusters, size, dtype=np.uint8) for _ in range(count)]


def _look(clusters, mirrored=None, low_contrast=None, features=None, places=None, counted=None):
    places = np.array([0, 1, 0, 1], np.uint8) if places is None else places
    features = np.array([[0.0], [1], [0], [1]]) if features is None else features
    counted = [np.ones(one.shape, bool) for one in clusters] if counted is None else counted
    return Look(counted, clusters, mirrored or clusters, low_contrast or clusters, features, places)


def _pairs(one, other):
    return list(zip(np.concatenate([a.ravel() for a in one]), np.concatenate([a.ravel() for a in other]), strict=True))


def test_neighbours_share_the_information_of_all_pairs_eight_pixels_apart():
    maps = _maps(clusters=2)
    pairs = [
        (one[row, column], one[row + down, column + right])
        for one in maps
        for down, right in ((0, 8), (8, 0))
        for row, column in np.ndindex(one.shape[0] - down, one.shape[1] - right)
    ]
    joint = {pair: pairs.count(pair) / len(pairs) for pair in set(pairs)}
    first, second = ({k: sum(p for pair, p in joint.items() if pair[side] == k) for k in (0, 1)} for side in (0, 1))
    information = sum(p * math.log(p / first[a] / second[b]) for (a, b), p in joint.items())
    entropy = -sum(p * math.log(p) for p in first.values())
    assert criteria.of_look(_look(maps)).neighbours == pytest.approx(information / entropy)


def test_agreement_of_two_looks_is_that_beyond_chance():
    maps, others = _maps(), _maps()
    pairs = _pairs(maps, others)
    by_chance = sum(np.mean([a == k for a, _ in pairs]) * np.mean([b == k for _, b in pairs]) for k in range(3))
    expected = (np.mean([a == b for a, b in pairs]) - by_chance) / (1 - by_chance)
    found = criteria.of_look(_look(maps, mirrored=others, low_contrast=maps))
    assert found.mirrored == pytest.approx(expected) and found.low_contrast == pytest.approx(1)


def test_compact_pixels_have_two_like_them_on_every_side():
    maps = [one.repeat(n, 0).repeat(n, 1) for one, n in zip(_maps(2), (1, 5), strict=True)]
    alone = []
    for one in maps:
        for row, column in np.ndindex(one.shape):
            across = np.concatenate([one[max(row - 2, 0) : row + 3, column], one[row, max(column - 2, 0) : column + 3]])
            alone.append((across == one[row, column]).all())
    assert criteria.of_look(_look(maps)).compact == pytest.approx(np.mean(alone)) and 0 < np.mean(alone) < 1


def test_silhouette_is_one_less_the_ratio_of_distances_within_and_to_the_nearest_other_cluster():
    features, places = RNG.normal(size=(30, 4)), np.repeat(np.arange(3, dtype=np.uint8), 10)
    values = []
    for number, own in enumerate(places):
        distances = np.linalg.norm(features - features[number], axis=1)
        within = distances[places == own].sum() / 9
        nearest = min(distances[places == other].mean() for other in range(3) if other != own)
        values.append((nearest - within) / max(nearest, within))
    found = criteria.of_look(_look(_maps(), features=features, places=places)).silhouette
    assert found == pytest.approx(np.mean(values))


def test_seeds_agree_whatever_their_clusters_are_called():
    maps = _maps()
    renamed = [np.array([2, 0, 1], np.uint8)[one] for one in maps]
    assert criteria.agreement(_look(maps), _look(renamed)) == pytest.approx(1)
    assert abs(criteria.agreement(_look(maps), _look(_maps()))) < 0.05


def test_nothing_praises_a_map_of_one_cluster():
    empty = [np.zeros((12, 15), np.uint8)] * 2
    found = criteria.of_look(_look(empty, places=np.zeros(4, np.uint8)))
    assert found == criteria.Criteria(0.0, 0.0, 0.0, 0.0, 0.0)
    assert criteria.agreement(_look(empty), _look(empty)) == 0


def test_pixels_without_data_are_in_no_criterion():
    """Beside the corners of two maps lies anything, and nothing of it is seen."""
    small = [one.repeat(3, 0).repeat(3, 1) for one in _maps(2, size=(4, 5))]
    first, second = (_framed(small, filling) for filling in (0, 2))
    others = _framed([one[::-1] for one in small], 1)
    counted = _framed([np.ones(one.shape, bool) for one in small], False)
    found = [criteria.of_look(_look(maps, others, others, counted=counted)) for maps in (first, second)]
    alone = criteria.of_look(_look(small, [one[::-1] for one in small], [one[::-1] for one in small]))
    assert found[0] == found[1] == alone
    assert criteria.agreement(_look(first, counted=counted), _look(second, counted=counted)) == 1


def _framed(maps, filling):
    return [np.pad(one, ((0, 9), (0, 11)), constant_values=filling) for one in maps]
