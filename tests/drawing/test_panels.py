import numpy as np
import pytest

from ar_seg_jax.data.classes import Class, numbered
from ar_seg_jax.drawing import label_maps, panels
from ar_seg_jax.interfaces import VOID

RNG = np.random.default_rng(0)
CLASSES = (Class('road', (10, 20, 30)), Class('roof', (200, 100, 0)))


def test_pixel_accuracy_is_that_of_a_loop_over_labelled_pixels():
    label, predicted = RNG.choice([0, 1, VOID], (5, 4, 6)), RNG.choice([0, 1, VOID], (5, 4, 6))
    label[2] = VOID
    found = panels.pixel_accuracy(predicted.astype(np.uint8), label.astype(np.uint8))
    assert np.isnan(found[2])
    for index in (0, 1, 3, 4):
        labelled = [place for place in np.ndindex(4, 6) if label[index][place] != VOID]
        assert found[index] == pytest.approx(np.mean([predicted[index][place] == label[index][place] for place in labelled]))


def test_the_best_median_and_worst_are_found_among_images_with_labels():
    accuracies = np.array([0.5, np.nan, 0.9, 0.1, 0.6, 0.4, 0.8, 0.2, 0.3, 0.7])
    assert panels.ranked(accuracies, 1) == {'best': [2], 'median': [0], 'worst': [3]}
    assert panels.ranked(accuracies, 2) == {'best': [2, 6], 'median': [4, 0], 'worst': [7, 3]}
    assert panels.ranked(accuracies, 3) == {'best': [2, 6, 9], 'median': [4, 0, 5], 'worst': [8, 7, 3]}


@pytest.mark.parametrize('images', range(12))
@pytest.mark.parametrize('per_group', [0, 1, 2, 4])
def test_no_image_is_shown_twice_however_few_there_are(images, per_group):
    groups = panels.ranked(RNG.permutation(images) / 20, per_group)
    shown = [index for group in groups.values() for index in group]
    assert list(groups) == ['best', 'median', 'worst'] and len(set(shown)) == len(shown)
    assert len(shown) == (min(3 * per_group, images // 3 * 3) if images >= 3 else min(images, 3 * per_group))
    if per_group and images >= 2:
        assert len(groups['best']) == len(groups['worst']) >= 1


def test_equal_accuracies_keep_the_order_of_the_images():
    assert panels.ranked(np.full(6, 0.5), 2) == {'best': [0, 1], 'median': [2, 3], 'worst': [4, 5]}


def _row(height, width, labels):
    return panels.Compared('best', 0.5, RNG.integers(0, 256, (height, width, 4), dtype=np.uint8), labels)


def test_a_panel_shows_image_and_label_maps_in_their_columns_right_of_the_row_titles():
    label = np.array([[0, 1], [1, VOID]], np.uint8)
    row = _row(2, 2, [label, label[::-1]])
    panel = np.array(panels.draw([row, row], ['ground truth', 'AC'], CLASSES, 'caption', size=100))
    expected = [label_maps.paint(shown, CLASSES).repeat(50, 0).repeat(50, 1) for shown in row.labels]
    left = int(np.flatnonzero((panel[30:130] == expected[0][0, 0]).all(-1).any(0))[0])
    assert left > 104
    for top in (30, 134):
        for column, picture in enumerate(expected):
            start = left + 104 * column
            np.testing.assert_array_equal(panel[top : top + 100, start : start + 100], picture)
        title = panel[top : top + 100, : left - 104]
        assert (title.min(axis=(1, 2)) < 100).sum() > 10 and (title[:, -2:] == 255).all()


def test_images_of_other_shapes_are_centred_on_white():
    rows = [_row(4, 4, [np.zeros((4, 4), int)]), _row(4, 2, [np.zeros((4, 2), int)])]
    panel = np.array(panels.draw(rows, ['ground truth'], CLASSES, 'caption', size=80))
    road = (panel == CLASSES[0].colour).all(-1)
    first, second = road[30:110], road[114:194]
    (left, right), (inner_left, inner_right) = (np.flatnonzero(half.any(0))[[0, -1]] for half in (first, second))
    assert right - left == 79 and (inner_left, inner_right) == (left + 20, right - 20) and second.sum() == 80 * 40


def test_the_legend_names_every_class_and_what_black_means():
    classes = numbered('a class with a long name', 12)
    panel = np.array(panels.draw([_row(5, 5, [np.full((5, 5), VOID)])], ['ground truth'], classes, 'caption', size=50))
    for entry in classes:
        assert (panel[84:] == entry.colour).all(-1).sum() == 15 * 15
    black = (panel[84:] == 0).all(-1)
    assert np.lib.stride_tricks.sliding_window_view(black, (17, 17)).all((2, 3)).sum() == 1


def test_strips_have_a_row_for_each_title_with_every_image_beside_its_label_maps():
    labels, found = np.zeros((4, 4), int), np.ones((4, 4), int)
    rows = {title: [_row(4, 4, [labels, found]) for _ in range(2)] for title in ('AC', 'IIC')}
    panel = np.array(panels.strips(rows, CLASSES, 'caption', size=60))
    for entry in CLASSES[:2]:
        painted = (panel == entry.colour).all(-1)
        squares = np.lib.stride_tricks.sliding_window_view(painted, (60, 60)).all((2, 3))
        tops, lefts = np.nonzero(squares)
        assert len(tops) == 4 and len(set(tops)) == len(set(lefts)) == 2
    first, second = (np.flatnonzero((panel == entry.colour).all(-1)[30:90].any(0))[0] for entry in CLASSES[:2])
    assert second - first == 64  # the prediction is right of the labels


def test_fewer_row_titles_than_rows_are_refused():
    rows = [[np.zeros((8, 8, 3), np.uint8)]] * 2
    with pytest.raises(ValueError, match=r'^zip\(\) argument 2 is shorter than argument 1$'):
        label_maps.panel(rows, ['image'], CLASSES, 'caption', ['only one'])
