import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ar_seg_jax.data.classes import UNMATCHED, Class
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


# Two things, two kinds of stuff and a class of neither.
GROUPED = tuple(
    Class(f'class {index}', (0, 0, 0), group) for index, group in enumerate(('things', 'stuff', 'things', 'stuff', ''))
)


def test_groups_of_classes_are_scored_after_all_classes_have_been_matched():
    """By hand: of 40 pixels of things 24 are right, 6 are taken for another thing, 10 for stuff."""
    confusion = np.array([[14, 0, 2, 0, 1], [6, 30, 0, 0, 0], [4, 0, 10, 5, 0], [0, 0, 4, 15, 0], [0, 0, 0, 0, 9]])
    scores = scoring.score(confusion, np.arange(5))
    found = scoring.of_groups(scores, confusion, GROUPED)
    assert list(found) == ['things', 'stuff']
    # IoU: class 0 14 / (24 + 17 - 14), class 2 10 / (16 + 19 - 10); class 1 30 / (30 + 36 - 30), class 3 15 / (20 + 19 - 15)
    assert found['things'] == pytest.approx((24 / 40, (14 / 27 + 10 / 25) / 2))
    assert found['stuff'] == pytest.approx((45 / 50, (30 / 36 + 15 / 24) / 2))
    numbers = scoring.by_name(scores, confusion, GROUPED)
    assert numbers == {
        'accuracy': scores.accuracy,
        'mean_iou': scores.mean_iou,
        'things_accuracy': found['things'][0],
        'things_mean_iou': found['things'][1],
        'stuff_accuracy': found['stuff'][0],
        'stuff_mean_iou': found['stuff'][1],
    }
    assert scoring.of_groups_in_words(scores, confusion, GROUPED) == 'things 0.600, 0.459; stuff 0.900, 0.729'
    assert scoring.of_groups_in_words(scores, confusion, [Class('class', (0, 0, 0))] * 5) == ''


def test_a_perfect_clustering_has_perfect_groups_whatever_its_clusters_are_called():
    pixels = np.diag([10, 20, 30, 40, 50])
    for order in itertools.permutations(range(5)):
        confusion = pixels[list(order)]
        scores = scoring.score(confusion, matching.one_to_one(confusion))
        assert scoring.of_groups(scores, confusion, GROUPED) == {'things': (1.0, 1.0), 'stuff': (1.0, 1.0)}


def test_a_group_that_nobody_labelled_has_no_accuracy_and_no_iou_where_nothing_is_taken_for_it():
    confusion = np.array([[8, 0, 0, 0, 0], [0, 0, 0, 0, 0], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 5]])
    found = scoring.of_groups(scoring.score(confusion, np.arange(5)), confusion, GROUPED)
    assert found['things'] == pytest.approx((0.8, 0.4))
    assert all(map(math.isnan, found['stuff']))
    confusion[1, 4] = 1
    accuracy, iou = scoring.of_groups(scoring.score(confusion, np.arange(5)), confusion, GROUPED)['stuff']
    assert math.isnan(accuracy) and iou == 0


def test_entropy_and_empty_clusters_are_those_of_the_pixels():
    clusters = RNG.choice([0, 2, 3, 3, 3, 5], 1000)
    confusion = np.stack([np.bincount(RNG.integers(0, 3, (clusters == k).sum()), minlength=3) for k in range(7)])
    found = scoring.of_clusters(confusion)
    assert found['cluster_entropy'] == pytest.approx(stats.entropy(np.unique(clusters, return_counts=True)[1]))
    assert found['empty_clusters'] == pytest.approx(len(set(range(7)) - set(clusters.tolist())) / 7) == pytest.approx(3 / 7)
    entropy = stats.entropy(np.bincount(clusters, minlength=7))
    assert scoring.of_clusters_in_words(confusion) == f'entropy {entropy:.4f} of at most 1.9459 nats, 3 of 7 empty'
    assert scoring.of_clusters(np.array([[3, 4], [0, 0]])) == {'cluster_entropy': 0.0, 'empty_clusters': 0.5}


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
