import numpy as np
from PIL import Image

from ar_seg_jax.data.classes import Class, numbered
from ar_seg_jax.drawing import label_maps
from ar_seg_jax.interfaces import VOID

CLASSES = (Class('road', (10, 20, 30)), Class('roof', (200, 100, 0)))


def test_palette_images_hold_the_ids_and_show_the_colours(tmp_path):
    label = np.array([[0, 1], [1, VOID]])
    label_maps.palette_image(label, CLASSES).save(tmp_path / 'label.png')
    saved = Image.open(tmp_path / 'label.png')
    np.testing.assert_array_equal(np.array(saved), label)
    np.testing.assert_array_equal(np.array(saved.convert('RGB')), label_maps.paint(label, CLASSES))
    assert np.array(saved.convert('RGB'))[1].tolist() == [[200, 100, 0], [0, 0, 0]]


def test_an_overlay_lies_between_image_and_paint():
    image, painted = np.full((2, 2, 4), 100, np.uint8), np.full((2, 2, 3), 200, np.uint8)
    np.testing.assert_array_equal(label_maps.overlay(image, painted, opacity=0.25), np.full((2, 2, 3), 125))


def test_a_panel_shows_every_picture_where_its_column_is():
    rows = [[np.full((8, 8, 3), 10 * row + column, np.uint8) for column in range(2)] for row in range(3)]
    panel = np.array(label_maps.panel(rows, ['one', 'two'], numbered('a class with a long name', 12), 'caption'))
    for row in range(3):
        for column in range(2):
            top, left = 4 + 16 + row * 12, 4 + column * 12
            assert (panel[top : top + 8, left : left + 8] == 10 * row + column).all()
