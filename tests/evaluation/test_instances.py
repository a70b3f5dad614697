"""Scores of segmentations into objects, against scikit-learn, slow loops, and what trivial predictors must get."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from ar_seg_jax.evaluation import instances
from ar_seg_jax.interfaces import VOID

RNG = np.random.default_rng(0)


def _table(segments, label, num_segments):
    return np.asarray(instances.contingency(jnp.asarray(segments)[None], jnp.asarray(label, jnp.uint8)[None], num_segments))[0]


def _scores(segments, label, num_segments=6):
    return instances.scores(_table(segments, label, num_segments))


def _random(labels=5, segments=6, size=(9, 7)):
    """Segments that have something to do with the labels, some of which are empty."""
    label = RNG.integers(0, labels, size)
    moved = RNG.permutation(segments)[label % segments]
    return np.where(RNG.random(size) < 0.4, RNG.integers(0, segments, size), moved), label


def test_tables_count_the_pixels_of_each_image():
    segments, label = RNG.integers(0, 4, (3, 8, 6)), RNG.choice([0, 1, 7, 254, VOID], (3, 8, 6)).astype(np.uint8)
    expected = np.zeros((3, 4, 255), int)
    for image, row, column in np.ndindex(label.shape):
        if label[image, row, column] != VOID:
            expected[image, segments[image, row, column], label[image, row, column]] += 1
    found = jax.jit(instances.contingency, static_argnums=2)(segments, label, 4)
    np.testing.assert_array_equal(found, expected)


def test_ari_is_that_of_scikit_learn():
    for _ in range(20):
        segments, label = _random(labels=RNG.integers(2, 7))
        found = _scores(segments, label)
        assert found['ari'] == pytest.approx(adjusted_rand_score(label.ravel(), segments.ravel()), abs=1e-12)
        of_objects = label > 0
        assert found['ari_fg'] == pytest.approx(adjusted_rand_score(label[of_objects], segments[of_objects]), abs=1e-12)


def test_ari_is_exact_where_64_bits_are_too_few():
    table = 10**6 * RNG.integers(1, 10, (4, 3))
    assert instances.adjusted_rand_index(table) == pytest.approx(instances.adjusted_rand_index(table // 1000), rel=1e-2)
    assert instances.adjusted_rand_index(10**9 * np.eye(3, dtype=int)) == 1


def _slow(segments, label, slots):
    """mIoU (ours), MSC and MSC-FG by their definitions, over all matchings."""
    masks = [segments == slot for slot in range(slots) if (segments == slot).any()]
    true = [label == number for number in np.unique(label)]
    iou = np.array([[(a & b).sum() / (a | b).sum() for b in true] for a in masks])
    side = max(iou.shape)
    square = np.zeros((side, side))
    square[: iou.shape[0], : iou.shape[1]] = iou
    matchings = (square[np.arange(side), list(order)] for order in itertools.permutations(range(side)))
    best = max(matchings, key=np.sum)
    msc = iou.max(0)
    return best.sum() / (len(masks) + len(true) - (best > 0).sum()), msc.mean(), msc[1:].mean()


def test_iou_and_coverings_are_those_of_a_loop_over_masks_and_matchings():
    for _ in range(12):
        segments, label = _random(labels=RNG.integers(2, 6))
        label[0, 0] = 0
        found = _scores(segments, label)
        expected = _slow(segments, label, 6)
        np.testing.assert_allclose([found[name] for name in ('mean_iou', 'msc', 'msc_fg')], expected, rtol=1e-12)


def test_scores_do_not_depend_on_the_order_of_slots_but_with_the_divisor_of_ast():
    """The example of the docstring: background found but for 10 pixels, and the object not at all."""
    label = np.repeat([0, 1], [90, 10]).reshape(10, 10)
    scores = []
    for slot in (1, 3):
        segments = np.where(np.arange(100).reshape(10, 10) < 10, slot, 0)
        scores.append(_scores(segments, label, 4))
    assert [round(found['mean_iou_ast'], 3) for found in scores] == [0.4, 0.267]
    assert scores[0]['mean_iou'] == scores[1]['mean_iou'] == pytest.approx(0.8 / 3)
    for _ in range(10):
        segments, label = _random()
        order, names = RNG.permutation(6), [0, *(1 + RNG.permutation(4))]
        found, other = _scores(segments, label), _scores(order[segments], np.array(names)[label])
        for name in ('mean_iou', 'ari', 'ari_fg', 'msc', 'msc_fg'):
            assert found[name] == pytest.approx(other[name], rel=1e-12)


def test_of_matchings_with_one_sum_the_divisor_is_that_of_most_pairs():
    """One pair of IoU 1/2, or two of 1/6 and 1/3."""
    table = np.array([[4, 1, 1], [2, 0, 0]])
    np.testing.assert_allclose(instances.iou(table), [[1 / 2, 1 / 6, 1 / 6], [1 / 3, 0, 0]])
    for rows, columns in itertools.product(itertools.permutations(range(2)), itertools.permutations(range(3))):
        ours, _ = instances.mean_iou(table[list(rows)][:, list(columns)])
        assert ours == pytest.approx((1 / 2) / 3)


@pytest.mark.parametrize('areas', [(60, 40), (50, 20, 30), (55, 15, 15, 10, 5), (100,)])
def test_trivial_predictors_get_what_follows_from_the_areas_of_the_objects(areas):
    """Background and objects with these shares of 100 pixels."""
    label, objects = np.repeat(np.arange(len(areas)), areas).reshape(10, 10), len(areas) - 1
    share = np.array(areas) / 100
    one = _scores(np.full_like(label, 2), label)
    assert one['ari'] == (objects == 0)
    assert one['mean_iou'] == pytest.approx(share.max() / (objects + 1)) and one['msc'] == pytest.approx(1 / (objects + 1))
    perfect = _scores((label + 3) % 6, label)
    if not objects:
        assert np.isnan([perfect['ari_fg'], perfect['msc_fg']]).all()
        assert [perfect[name] for name in ('ari', 'mean_iou', 'msc', 'mean_iou_ast')] == [1] * 4
        return
    assert set(perfect.values()) == {1}
    assert one['ari_fg'] == (objects == 1) and one['msc_fg'] == pytest.approx((1 - share[0]) / objects)
    together = _scores(np.where(label, 1, 0), label)
    assert together['ari'] < 1 or objects == 1
    assert together['ari_fg'] == (objects == 1)
    largest = share[1:].max() / (1 - share[0])
    assert together['mean_iou'] == pytest.approx((1 + largest) / (objects + 1))
    assert together['msc'] == pytest.approx(2 / (objects + 1)) and together['msc_fg'] == pytest.approx(1 / objects)


def test_one_true_object_is_one_segment_or_scores_exactly_nothing():
    label = np.zeros((10, 10), int)
    label[2:8, 2:8] = 1
    segments = label.copy()
    assert _scores(segments, label)['ari_fg'] == 1
    segments[2, 2] = 0
    assert _scores(segments, label)['ari_fg'] == 0


def test_more_objects_than_slots_count_as_missed():
    label = np.repeat(np.arange(4), 25).reshape(10, 10)
    found = _scores(np.minimum(label, 1), label, 2)
    assert found['mean_iou'] == pytest.approx((1 + 1 / 3) / 4) == found['mean_iou_ast']


def test_an_image_without_labels_has_no_scores_and_means_leave_out_what_is_missing():
    nothing = _scores(np.zeros((4, 4), int), np.full((4, 4), VOID))
    assert np.isnan(list(nothing.values())).all()
    full, empty = (_scores(np.eye(4, dtype=int), label) for label in (np.eye(4, dtype=int), np.zeros((4, 4), int)))
    found = instances.means([nothing, full, empty])
    assert found['ari_fg'] == 1 and found['mean_iou'] == pytest.approx((1 + 12 / 16 / 2) / 2)
    assert instances.means([nothing, nothing]) == {}


def test_errors_are_sums_over_pixels_and_channels():
    image, made = RNG.integers(0, 256, (2, 5, 4, 3), dtype=np.uint8), RNG.random((2, 5, 4, 3)).astype(np.float32)
    expected = [((made[index] - image[index] / 255) ** 2).sum() for index in range(2)]
    np.testing.assert_allclose(instances.squared_error(jnp.asarray(made), jnp.asarray(image)), expected, rtol=1e-5)
