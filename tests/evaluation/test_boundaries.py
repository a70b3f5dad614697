"""The boundary F-score against its definition, pixel pair by pixel pair."""

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage

from ar_seg_jax.evaluation import boundaries
from ar_seg_jax.interfaces import VOID

RNG = np.random.default_rng(0)


def _blobs(height, width, classes):
    """Smooth regions of random classes."""
    noise = ndimage.gaussian_filter(RNG.normal(size=(classes, height, width)), (0, 2, 2))
    return noise.argmax(0).astype(np.uint8)


def _boundary(classes, label, index):
    """Pixels of a class, as a list, beside one of another class; only labelled ones are looked at."""
    height, width = label.shape
    found = []
    for row, column in itertools.product(range(height), range(width)):
        if classes[row, column] != index or label[row, column] == VOID:
            continue
        beside = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        inside = [(r, c) for r, c in beside if 0 <= r < height and 0 <= c < width and label[r, c] != VOID]
        if any(classes[place] != index for place in inside):
            found.append((row, column))
    return found


def _slow_f(predicted, label, index, near):
    true, guessed = (_boundary(classes, label, index) for classes in (label, predicted))
    if not true and not guessed:
        return math.nan
    hits = sum(any(math.dist(one, other) <= near for other in guessed) for one in true)
    right = sum(any(math.dist(one, other) <= near for other in true) for one in guessed)
    if not hits or not right:
        return 0.0
    recall, precision = hits / len(true), right / len(guessed)
    return 2 / (1 / recall + 1 / precision)


@pytest.mark.parametrize('near', [1.0, 1.5, 3.2])
def test_scores_are_those_of_a_loop_over_pairs_of_pixels(near):
    label, predicted = _blobs(23, 31, 4), _blobs(23, 31, 4)
    predicted[:, 12:] = label[:, 12:]
    label[RNG.random(label.shape) < 0.1] = VOID
    label[:, 20:23] = VOID
    predicted[:4, :6] = VOID
    found = boundaries.f_scores(boundaries.counts(predicted, label, 5, near))
    np.testing.assert_allclose(found, [_slow_f(predicted, label, index, near) for index in range(5)])
    assert math.isnan(found[4]) and all(0.3 < f < 1 for f in found[:4])


def test_a_boundary_that_is_moved_by_less_than_the_tolerance_is_right_and_one_further_off_wrong():
    label, predicted = (np.repeat((np.arange(40) >= edge)[None].astype(np.uint8), 9, 0) for edge in (20, 22))
    for near, f in ((2.0, 1.0), (1.9, 0.0)):
        np.testing.assert_array_equal(boundaries.f_scores(boundaries.counts(predicted, label, 2, near)), [f, f])


def test_the_border_of_the_image_and_that_of_what_is_not_labelled_bound_nothing():
    label = np.zeros((8, 8), np.uint8)
    label[:, 4:] = VOID
    found = boundaries.counts(np.repeat((np.arange(8) >= 4)[None].astype(np.uint8), 8, 0), label, 2, 1.0)
    assert not found.any() and np.isnan(boundaries.f_scores(found)).all()


def test_a_class_that_only_one_of_the_two_has_scores_nothing():
    label, predicted = np.zeros((2, 8, 8), np.uint8)
    predicted[2:5, 2:5] = 1
    np.testing.assert_array_equal(boundaries.f_scores(boundaries.counts(predicted, label, 3, 1.0)), [0, 0, np.nan])


@pytest.mark.parametrize(('size', 'pixels'), [((300, 400), 3.75), ((30, 40), 1.0)])
def test_the_tolerance_follows_from_the_diagonal(size, pixels):
    assert boundaries.tolerance(*size) == pytest.approx(pixels)
