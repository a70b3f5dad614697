"""Scores of label maps against scikit-learn's, and what is told of them."""

import re
import warnings

import numpy as np
import pytest
from sklearn import metrics

from ar_seg_jax.data.classes import UNMATCHED, numbered
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import agreement, bootstrap, boundaries
from ar_seg_jax.evaluation.matching import one_to_one
from ar_seg_jax.interfaces import VOID

RNG = np.random.default_rng(0)
CLASSES = numbered('class', 4)


def _pairs(count=6, values=4):
    """Maps of several sizes that are often right, with pixels that have no label or no prediction; class 3 never occurs."""
    found = []
    for index in range(count):
        label = RNG.integers(0, 3, (8 + index, 11), np.uint8).repeat(3, 0).repeat(3, 1)
        predicted = np.where(RNG.random(label.shape) < 0.7, (label + 1) % values, RNG.integers(0, values, label.shape))
        predicted = predicted.astype(np.uint8)
        label[RNG.random(label.shape) < 0.1] = VOID
        predicted[RNG.random(label.shape) < 0.05] = VOID
        found.append((predicted, label))
    return found


@pytest.fixture(scope='module')
def pairs():
    return [*_pairs(), (np.zeros((9, 9), np.uint8), np.full((9, 9), VOID, np.uint8))]


def _flat(pairs, mapping):
    """All labelled pixels: their class, and that of their prediction, -1 for none."""
    table = np.full(256, UNMATCHED)
    table[: len(mapping)] = mapping
    predicted, label = (np.concatenate([pair[side].reshape(-1) for pair in pairs]) for side in (0, 1))
    return label[label != VOID], table[predicted[label != VOID]]


def test_scores_are_those_of_scikit_learn(pairs):
    found = agreement.measure(pairs, 4, CLASSES, one_to_one)
    np.testing.assert_array_equal(found.mapping, [3, 0, 1, 2, UNMATCHED])
    label, predicted = _flat(pairs, found.mapping[:-1])
    expected = metrics.confusion_matrix(label, predicted, labels=[0, 1, 2, 3, -1])
    taken = np.zeros((5, 5), int)
    np.add.at(taken.T, found.mapping, np.pad(found.confusion, ((0, 0), (0, 1))))
    np.testing.assert_array_equal(taken, expected)
    assert found.table[0, 0] == pytest.approx(metrics.accuracy_score(label, predicted))
    iou = metrics.jaccard_score(label, predicted, labels=[0, 1, 2, 3], average=None)
    np.testing.assert_allclose(found.table[1:, 1], iou)
    assert found.table[0, 1] == pytest.approx(iou.mean())
    recall = metrics.recall_score(label, predicted, labels=[0, 1, 2], average=None)
    np.testing.assert_allclose(found.table[1:, 0], [*recall, np.nan])
    assert found.unlabelled == 1 and len(found.confusions) == 6


def test_boundaries_are_those_of_classes_and_not_of_clusters(pairs):
    """Two clusters of one class have no boundary between them."""
    mapping = np.array([0, 0, 1, 2])
    found = agreement.measure(pairs, 4, CLASSES, lambda _: mapping, near=2.0)
    table = np.array([*mapping, *[VOID] * 252], np.uint8)
    expected = sum(boundaries.counts(table[predicted], label, 4, 2.0) for predicted, label in pairs)
    np.testing.assert_allclose(found.table[1:, 2], boundaries.f_scores(expected))
    assert found.table[0, 2] == pytest.approx(np.nanmean(boundaries.f_scores(expected)))


def test_intervals_are_those_of_images_with_the_same_classes(pairs):
    """Drawn again here, image by image."""
    found = agreement.measure(pairs, 4, CLASSES, one_to_one, seed=5)
    rng, drawn = np.random.default_rng(5), []
    for _ in range(bootstrap.RESAMPLES):
        times = rng.multinomial(6, [1 / 6] * 6)
        label, predicted = _flat([pair for pair, count in zip(pairs, times, strict=False) for _ in range(count)], found.mapping)
        drawn.append((label == predicted).mean())
    np.testing.assert_allclose(found.intervals[:, 0, 0], np.percentile(drawn, [2.5, 97.5]))
    low, high = found.intervals
    there = ~np.isnan(found.table)
    assert (low <= found.table)[there].all() and (found.table <= high)[there].all()


def test_what_is_told_are_the_numbers(pairs):
    found = agreement.measure(pairs, 4, CLASSES, one_to_one)
    lines, content = agreement.lines(found), agreement.content(found)
    assert lines[0] == f'6 images, {found.confusion.sum():,} labelled pixels; 1 images without any are left out'
    rows = {line[:12].strip(): re.findall(r'(\d\.\d{4})', line) for line in lines[2:8]}
    for row, name in enumerate(('all (mean)', 'class 0', 'class 1', 'class 2')):
        values = [value for column in range(3) for value in (found.table[row, column], *found.intervals[:, row, column])]
        assert rows[name] == [f'{value:.4f}' for value in values]
    assert content['scores']['mean_iou'] == {
        'value': found.table[0, 1],
        'interval': [found.intervals[0, 0, 1], found.intervals[1, 0, 1]],
    }
    assert content['classes'][3]['accuracy'] == {'value': None, 'interval': None}
    assert content['classes'][3]['iou']['value'] == 0 and content['classes'][0]['name'] == 'class 0'
    assert np.sum(content['confusion']) + np.sum(content['without_prediction']) == content['pixels']
    (missing,) = (line for line in lines if 'have no prediction (255), and count as wrong' in line)
    assert missing.startswith(f'{found.confusion[-1].sum() / found.confusion.sum():.2%} of the labelled pixels')
    header, *rows = lines[lines.index('') :][-5:]
    assert header.split() == ['class', '0', 'class', '1', 'class', '2', 'class', '3', 'none']
    taken = np.array([[float(value) for value in row.split()[2:]] for row in rows])
    np.testing.assert_allclose(taken.sum(1), [100, 100, 100, 0], atol=0.3)


def test_one_image_has_scores_and_no_intervals(pairs):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = agreement.measure(pairs[:1], 4, CLASSES, one_to_one)
        assert found.intervals is None and '[' not in agreement.lines(found)[3]
    assert agreement.content(found)['scores']['accuracy']['interval'] is None
    assert any('a single image says nothing about others' in line for line in agreement.lines(found))


def test_images_without_labels_cannot_be_scored(pairs):
    with pytest.raises(UserError, match=r'^no pixel has a label'):
        agreement.measure(pairs[-1:], 4, CLASSES, one_to_one)
