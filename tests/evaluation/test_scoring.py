import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.data.classes import UNMATCHED
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import matching, scoring
from ar_seg_jax.evaluation.protocols import Protocol
from ar_seg_jax.interfaces import VOID

RNG = np.random.default_rng(0)


def test_confusion_counts_equal_a_loop_over_pixels():
    clusters, label = RNG.integers(0, 4, (2, 9, 7)), RNG.choice([0, 1, 2, VOID], (2, 9, 7))
    expected = np.zeros((4, 3), int)
    for cluster, true in zip(clusters.reshape(-1), label.reshape(-1), strict=True):
        if true != VOID:
            expected[cluster, true] += 1
    counts = scoring.confusion_counts(jnp.asarray(clusters), jnp.asarray(label, jnp.uint8), 4, 3)
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize(('clusters', 'classes'), [(3, 3), (5, 3), (2, 4)])
def test_one_to_one_matching_is_the_best_of_all_assignments(clusters, classes):
    confusion = RNG.integers(0, 100, (clusters, classes))
    mapping = matching.one_to_one(confusion)
    used = mapping[mapping != UNMATCHED]
    assert len(set(used.tolist())) == len(used) == min(clusters, classes)
    hits = sum(confusion[cluster, label] for cluster, label in enumerate(mapping) if label != UNMATCHED)
    longer = confusion if clusters >= classes else confusion.T
    choices = itertools.permutations(range(len(longer)), longer.shape[1])
    assert hits == max(sum(longer[row, column] for column, row in enumerate(rows)) for rows in choices)


def test_many_to_one_takes_the_commonest_class_and_leaves_empty_clusters_unmatched():
    np.testing.assert_array_equal(matching.many_to_one(np.array([[1, 5], [7, 2], [0, 0], [0, 3]])), [1, 0, -1, 1])


def test_scores_equal_their_definitions_on_pixels():
    label, clusters = RNG.integers(0, 3, 500), RNG.integers(0, 4, 500)
    mapping = np.array([2, 0, 1, UNMATCHED])
    predicted = mapping[clusters]
    scores = scoring.score(np.array([[((clusters == k) & (label == c)).sum() for c in range(3)] for k in range(4)]), mapping)
    iou = [((predicted == c) & (label == c)).sum() / ((predicted == c) | (label == c)).sum() for c in range(3)]
    assert scores.accuracy == pytest.approx((predicted == label).mean())
    assert scores.class_iou == pytest.approx(iou)
    assert scores.mean_iou == pytest.approx(np.mean(iou))
    assert scores.class_accuracy == pytest.approx([(predicted == label)[label == c].mean() for c in range(3)])


def test_a_class_that_never_occurs_has_no_score_and_one_only_predicted_scores_zero():
    scores = scoring.score(np.array([[8, 0, 0], [2, 0, 0], [0, 0, 0]]), np.array([0, 1, 2]))
    assert scores.class_iou[:2] == pytest.approx((0.8, 0.0)) and math.isnan(scores.class_iou[2])
    assert scores.mean_iou == pytest.approx(0.4)


def test_scores_do_not_change_when_clusters_are_renamed():
    confusion = RNG.integers(0, 100, (4, 4))
    shuffled = confusion[RNG.permutation(4)]
    one, two = (scoring.score(table, matching.one_to_one(table)) for table in (confusion, shuffled))
    assert one == two


def _batches(label):
    return lambda split: [{'image': np.repeat(label[split][..., None], 3, axis=3), 'label': label[split]}]


def test_the_map_is_fitted_on_one_split_and_scored_on_the_other():
    fitted = np.array([[[0, 0, 1, 1]]], np.uint8)
    scored = np.array([[[1, 1, 1, 0]]], np.uint8)
    count = scoring.make_counter(lambda shift, image: (image[..., 0].astype(int) + shift) % 2, 2, 2)
    label = {'train': fitted, 'val': scored}
    (held_out, own) = scoring.evaluate(
        count, 1, [Protocol('many-to-one', 'train', 'val'), Protocol('one-to-one', 'val', 'val')], _batches(label)
    )
    np.testing.assert_array_equal(held_out.mapping, [1, 0])
    assert held_out.scores.accuracy == own.scores.accuracy == 1.0
    assert "fitted on 'train', scored on 'val';" in str(held_out.protocol)
    assert 'no held-out score' in str(own.protocol) and 'no held-out' not in str(held_out.protocol)


def test_a_split_without_labels_cannot_be_scored():
    label = {'train': np.full((1, 2, 2), VOID, np.uint8)}
    count = scoring.make_counter(lambda _, image: image[..., 0].astype(int) * 0, 2, 2)
    with pytest.raises(UserError, match=r"^no pixel of split 'train' has a label, .*--config\.evaluation\.split"):
        scoring.evaluate(count, 0, [Protocol('one-to-one', 'train', 'train')], _batches(label))
