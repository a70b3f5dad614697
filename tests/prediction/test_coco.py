"""Masks, boxes and areas as COCO's tools read them."""

import json

import numpy as np

from ar_seg_jax.prediction import coco

RNG = np.random.default_rng(0)


def _decoded(segmentation):
    """A mask from its run lengths, pixel by pixel, down the columns."""
    height, width = segmentation['size']
    mask, place, inside = np.zeros((height, width), bool), 0, False
    for count in segmentation['counts']:
        for pixel in range(place, place + count):
            mask[pixel % height, pixel // height] = inside
        place, inside = place + count, not inside
    assert place == height * width
    return mask


def test_the_run_lengths_of_a_mask_are_those_of_the_format():
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert coco.run_lengths(mask) == [2, 3, 1]
    assert coco.run_lengths(~mask) == [0, 2, 3, 1]
    assert coco.run_lengths(np.zeros((2, 3), bool)) == [6] and coco.run_lengths(np.ones((2, 3), bool)) == [0, 6]


def test_every_object_has_its_mask_box_and_area():
    labels = RNG.choice([0, 0, 0, 1, 3, 7], (11, 14)).astype(np.uint8)
    labels[:, :2] = labels[:3] = 0
    found = coco.annotations(labels)
    assert [entry['number'] for entry in found] == [1, 3, 7]
    for entry in found:
        mask = labels == entry['number']
        np.testing.assert_array_equal(_decoded(entry['segmentation']), mask)
        rows, columns = np.nonzero(mask)
        left, top, width, height = entry['bbox']
        assert (left, top, left + width - 1, top + height - 1) == (columns.min(), rows.min(), columns.max(), rows.max())
        assert entry['area'] == mask.sum() and entry['iscrowd'] == 0


def test_ids_of_a_file_count_over_its_images():
    labels = np.zeros((4, 6), np.uint8)
    other = labels.copy()
    other[1, 2:4], other[3] = 2, 1
    found = {name: (one.shape, coco.annotations(one)) for name, one in (('a.png', other), ('b/c.jpg', labels), ('d.png', other))}
    content = json.loads(json.dumps(coco.document(found, 'made here')))
    assert set(content) == {'info', 'images', 'annotations', 'categories'} and content['info'] == {'description': 'made here'}
    assert content['images'][1] == {'id': 2, 'file_name': 'b/c.jpg', 'width': 6, 'height': 4}
    assert [(entry['id'], entry['image_id'], entry['number']) for entry in content['annotations']] == [
        (1, 1, 1), (2, 1, 2), (3, 3, 1), (4, 3, 2),
    ]  # fmt: skip
    assert {entry['category_id'] for entry in content['annotations']} == {entry['id'] for entry in content['categories']}
