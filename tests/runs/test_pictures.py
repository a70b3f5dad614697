"""The pictures of runs that find objects; those of classes are seen in the tests of the commands."""

import numpy as np
import pytest

from ar_seg_jax.data.classes import objects
from ar_seg_jax.drawing import label_maps
from ar_seg_jax.evaluation.evaluator import Column
from ar_seg_jax.runs import pictures
from tests.support import squares

SIDE = squares.SIDE
EXAMPLES = [
    {'id': str(index), 'image': squares.painted(one)[0], 'label': squares.labels(index)}
    for index, one in enumerate(squares.SQUARES)
]  # fmt: skip


@pytest.fixture
def column():
    """Objects 2 and 3 are one; the rest is as it should be."""

    def label_map(image):
        index = next(index for index, one in enumerate(EXAMPLES) if np.array_equal(one['image'], image))
        return np.minimum(squares.painted(squares.SQUARES[index])[1], 2)

    return Column('By colour', label_map, objects(3), {'background': lambda image: np.full_like(image, 120)})


def test_a_sample_shows_the_objects_and_what_else_the_method_makes_of_an_image(column):
    found = np.array(pictures.sample(EXAMPLES[1:2], column, (), True, 'a caption'))
    top, side = 4 + 16, 8 * SIDE
    pictures_of_row = (found[top : top + side : 8, left : left + side : 8] for left in range(4, 5 * (side + 4), side + 4))
    image, truth, background, prediction, overlay = pictures_of_row
    np.testing.assert_array_equal(image, EXAMPLES[1]['image'])
    np.testing.assert_array_equal(truth, label_maps.paint(EXAMPLES[1]['label'], objects(3)))
    assert (background == 120).all()
    np.testing.assert_array_equal(prediction, label_maps.paint(np.minimum(EXAMPLES[1]['label'], 2), objects(3)))
    np.testing.assert_array_equal(overlay, label_maps.overlay(image, prediction))


def test_a_panel_ranks_images_by_their_iou_and_leaves_out_those_without_labels(column, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures.panels, 'draw', lambda rows, *words: drawn.extend([rows, *words]))
    pictures.panel(EXAMPLES, 'val', [column], (), True, 6, 'a caption')
    rows, titles, classes, caption = drawn
    assert [row.group for row in rows] == ['best', 'median', 'worst'] and titles == ['ground truth', 'By colour']
    assert rows[0].score == 1 and rows[2].score < 1
    np.testing.assert_array_equal(rows[2].labels[1], np.minimum(rows[2].labels[0], 2))
    assert len(classes) == 4 and caption.endswith("of 6 images of 'val', by mIoU")
    assert pictures.panel(EXAMPLES[4:5], 'val', [column], (), True, 6, 'a caption') is None
