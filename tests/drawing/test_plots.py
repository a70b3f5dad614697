import io
import math

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.data.classes import Class, numbered
from ar_seg_jax.drawing import plots
from ar_seg_jax.errors import UserError

CLASSES = (Class('road', (0, 0, 0)), Class('roof of $x$', (9, 9, 9)), Class('a class with a name longer than a label', (1, 1, 1)))
CONFUSION = np.array([[1, 30, 0], [5, 5, 0], [4, 15, 0], [90, 0, 0]])
MAPPING = np.array([1, -1, 2, 0])
PROTOCOL = 'one-to-one:val:val'


def image(figure):
    return Image.open(io.BytesIO(plots.png(figure)))


def texts(ticks):
    return [text.get_text() for text in ticks]


def training(step, information):
    return {'step': step, 'kind': 'training', 'loss': -1.0, 'mutual_information': information, 'mutual_information_bound': 1.1}


def evaluation(step, accuracy, protocol=PROTOCOL):
    return {'step': step, 'kind': 'evaluation', f'{protocol}/accuracy': accuracy, f'{protocol}/mean_iou': accuracy / 2}


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_a_confusion_matrix_shows_shares_of_classes_with_clusters_in_the_order_of_their_classes():
    figure = plots.confusion(CONFUSION, MAPPING, CLASSES, 'a title')
    axes = figure.axes[0]
    (shown,) = axes.get_images()
    np.testing.assert_allclose(shown.get_array()[:, :2], [[0.9, 0], [0.01, 0.6], [0.04, 0.3], [0.05, 0.1]])
    assert np.ma.getmaskarray(shown.get_array())[:, 2].all()  # no pixels, no shares
    clusters = texts(axes.get_yticklabels())
    assert clusters[:2] == ['cluster 3 (road)', 'cluster 0 (roof of $x$)'] and clusters[3] == 'cluster 1 (no class)'
    assert texts(axes.get_xticklabels()) == ['road', 'roof of $x$', 'a class with a name longer …']
    assert texts(axes.texts) == ['0.90', '0.00', '0.01', '0.60', '0.04', '0.30', '0.05', '0.10']
    assert figure.get_suptitle() == 'a title'
    assert image(figure).format == 'PNG'


def test_names_of_classes_are_inside_of_the_picture():
    figure = plots.confusion(CONFUSION, MAPPING, CLASSES, 'a title')
    figure.draw_without_rendering()
    assert figure.bbox.x0 <= figure.get_tightbbox().x0 * figure.dpi
    assert figure.get_tightbbox().x1 * figure.dpi <= figure.bbox.x1


def test_a_large_confusion_matrix_has_no_numbers_in_its_cells():
    counts = np.random.default_rng(0).integers(0, 100, (60, 27))
    figure = plots.confusion(counts, counts.argmax(1), numbered('class', 27), 'over-clustering')
    assert not figure.axes[0].texts
    width, height = image(figure).size
    assert 400 < width < 2000 and 1000 < height < 2000


def test_curves_show_information_below_its_bound_and_scores_below_them():
    records = [training(1, 0.1), training(10, None), evaluation(10, 0.4), training(20, 0.9), evaluation(20, 0.8)]
    figure = plots.curves(records, 'a run')
    above, below = figure.axes
    information, bound = lines(above)['mutual information'], lines(above)['its bound']
    np.testing.assert_array_equal(information.get_xydata(), [[1, 0.1], [10, math.nan], [20, 0.9]])
    np.testing.assert_array_equal(bound.get_ydata(), [1.1, 1.1, 1.1])
    assert (information.get_linestyle(), bound.get_linestyle(), above.get_ylabel()) == ('-', '--', 'nats')
    np.testing.assert_array_equal(lines(below)[f'accuracy, {PROTOCOL}'].get_xydata(), [[10, 0.4], [20, 0.8]])
    np.testing.assert_array_equal(lines(below)[f'mIoU, {PROTOCOL}'].get_xydata(), [[10, 0.2], [20, 0.4]])
    assert image(figure).size == (800, 630)


def test_every_protocol_has_its_curves():
    records = [training(1, 0.1), evaluation(1, 0.4), evaluation(2, 0.3, 'many-to-one:train:val')]
    (_, below) = plots.curves(records, 'a run').axes
    found = lines(below)
    assert len(found) == 4
    np.testing.assert_array_equal(found['accuracy, many-to-one:train:val'].get_xydata(), [[2, 0.3]])
    assert found['accuracy, many-to-one:train:val'].get_color() != found[f'accuracy, {PROTOCOL}'].get_color()


@pytest.mark.parametrize(
    'records, label, values',
    [
        ([training(1, 0.5), {'step': 1, 'kind': 'evaluation'}], 'mutual information', [0.5]),
        ([training(1, None)], 'mutual information', [math.nan]),
        ([{'step': 3, 'kind': 'training', 'loss': 2.0}], 'loss', [2.0]),
        ([evaluation(0, 0.5)], f'accuracy, {PROTOCOL}', [0.5]),
    ],
)
def test_runs_without_labels_or_information_and_single_records_have_one_plot(records, label, values):
    figure = plots.curves(records, 'a run with $ in its name')
    (axes,) = figure.axes
    np.testing.assert_array_equal(lines(axes)[label].get_ydata(), values)
    assert lines(axes)[label].get_marker() == 'o'
    assert image(figure).size == (800, 340)


@pytest.mark.parametrize('records', [[], [{'step': 1, 'kind': 'evaluation'}]])
def test_nothing_to_draw_is_said(records):
    with pytest.raises(UserError, match=r'^there are neither records of training nor scores to draw$'):
        plots.curves(records, 'a run')
