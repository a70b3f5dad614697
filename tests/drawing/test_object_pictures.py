"""Pictures of objects, pixel by pixel where that says something."""

import numpy as np

from ar_seg_jax.data.classes import objects
from ar_seg_jax.drawing import object_pictures, slots
from tests.support import squares

IMAGE, LABEL = squares.painted(squares.SQUARES[0])
CLASSES = objects(3)
BOXES = {1: [1, 1, 5, 5], 2: [8, 9, 6, 6]}


def test_a_glimpse_is_seen_as_far_as_its_mask_lets_it_through():
    one = np.zeros((4, 4, 4), np.uint8)
    one[..., :3], one[:2, :, 3] = (200, 100, 50), 255
    found = object_pictures.glimpse(one, 32)
    assert (found[:8] == [200, 100, 50]).all() and set(np.unique(found[24:])) == {200, 235}


def test_boxes_are_drawn_around_the_objects_in_their_colours():
    found = object_pictures.outlined(IMAGE, LABEL, BOXES, CLASSES, 64, 64)
    for number, (left, top, width, height) in BOXES.items():
        colour = CLASSES[number].colour
        assert (found[4 * (top + height) - 1, 4 * left : 4 * (left + width)] == colour).all()
        assert (found[4 * top + 20 : 4 * (top + height), 4 * (left + width) - 1] == colour).all()
    unseen = object_pictures.outlined(IMAGE, np.zeros_like(LABEL), {}, CLASSES, 16, 16)
    np.testing.assert_array_equal(unseen, IMAGE)


def test_a_picture_has_a_column_for_each_view_and_each_object_that_is_seen():
    views = {'background': np.full_like(IMAGE, 120), 'reconstruction': IMAGE}
    glimpses = np.full((3, 8, 8, 4), 255, np.uint8)
    found = np.array(object_pictures.picture(IMAGE, LABEL, BOXES, views, glimpses, CLASSES, 'a caption'))
    assert found.shape[1] == 6 * 164 + 4
    top = 4 + 19  # a line of the font
    lefts = [4 + column * 164 for column in range(6)]
    assert (found[top : top + 160, lefts[1] : lefts[1] + 160] == 120).all()
    np.testing.assert_array_equal(
        found[top : top + 160, lefts[0] : lefts[0] + 160], found[top : top + 160, lefts[2] : lefts[2] + 160]
    )
    assert (found[top : top + 160, lefts[4] : lefts[4] + 160] == 255).all()


def test_the_path_of_a_slot_leads_from_the_mean_of_its_attention_to_its_glimpse():
    attention = np.zeros((3, 4, 4), np.float32)
    attention[:, 1, 2] = 1
    places = np.array([[-0.5, -0.5, 4, 2], [0.5, 0.25, 2, 2], [0, 0, 1, 1]], np.float32)
    glimpses = np.full((3, 8, 8, 4), 255, np.uint8)
    figure = slots.figure({'image': IMAGE}, LABEL, attention, places, glimpses, CLASSES, 'a title')
    paths = [axes for axes in figure.axes if axes.patches]
    assert len(paths) == 3
    for axes, (x, y, scale_x, scale_y) in zip(paths, places, strict=True):
        (frame,) = axes.patches
        assert (frame.get_width(), frame.get_height()) == (2 / scale_x, 2 / scale_y)
        np.testing.assert_allclose(frame.get_center(), (x, y), atol=1e-6)
        (circle,) = axes.lines
        np.testing.assert_allclose(circle.get_xydata(), [[0.25, -0.25]])  # the centre of the cell in the third column, second row
        (arrow,) = axes.texts
        np.testing.assert_allclose(arrow.xy, (x, y), atol=1e-6)


def test_slots_of_frames_that_are_no_squares_are_drawn_at_their_proportions():
    """Pixels are squares: what is drawn from -1 to 1 along both sides is as high, for its width, as the frame."""
    frame = np.zeros((10, 20, 3), np.uint8)
    attention, glimpses = np.full((1, 5, 10), 1 / 50, np.float32), np.zeros((1, 8, 8, 4), np.uint8)
    places = np.array([[0, 0, 2, 2]], np.float32)
    figure = slots.figure({'image': frame}, np.zeros((10, 20), int), attention, places, glimpses, CLASSES, 'a title')
    assert [axes.get_aspect() for axes in figure.axes] == [0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 0.5]
