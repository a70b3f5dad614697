"""The most typical crops, against a search in a plain loop."""

import io

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.reporting import crops
from ar_seg_jax.reporting.sight import Seen

SIDE = 8


def seen(index, windows, present=(0, 1)):
    """An image with these mean scores (rows, columns, clusters) in its windows."""
    counts = np.zeros((windows.shape[-1], 2, 2), int)
    counts[list(present), 0, 0] = 1
    return Seen(
        index, f'image {index}', np.zeros((1, 1), np.uint8), np.ones((1, 1), bool), 0.5, counts, np.zeros((2, 3)), SIDE, windows
    )


@pytest.mark.parametrize('count', [1, 5, 30])
def test_they_are_the_likeliest_windows_and_each_image_gives_no_more_than_its_share(count):
    rng = np.random.default_rng(0)
    images = [seen(3 * number, rng.random((4, 5, 2))) for number in range(count)]
    found = crops.typical(images, 1)
    of_each = {1: 12, 5: 3, 30: 1}[count]
    every = []
    for one in images:
        windows = [
            (-one.windows[row, column, 1], one.index, row * SIDE, column * SIDE) for row in range(4) for column in range(5)
        ]
        every += sorted(windows)[:of_each]
    expected = sorted(every)[:12]
    assert [(-crop.score, crop.index, crop.row, crop.column) for crop in found] == expected
    assert all(crop.side == SIDE for crop in found)


def test_a_cluster_without_pixels_has_none_and_images_without_it_give_none():
    windows = np.full((2, 2, 2), 0.5)
    images = [seen(0, windows, present=[0]), seen(1, windows, present=[0])]
    assert crops.typical(images, 1) == []
    images.append(seen(2, windows, present=[1]))
    assert {crop.index for crop in crops.typical(images, 1)} == {2}


def test_a_sheet_shows_each_crop_at_its_place_and_every_image_is_read_once():
    image = {number: np.full((16, 16, 3), level, np.uint8) for number, level in enumerate((10, 90, 200))}
    image[1][8:, 8:] = (250, 20, 20)
    places = [crops.Crop(0.9, 1, 8, 8, SIDE), crops.Crop(0.8, 2, 0, 0, SIDE), *[crops.Crop(0.7, 0, 0, 0, SIDE)] * 5]
    read = []
    sheets = crops.sheets({4: places, 5: []}, lambda index: read.append(index) or image[index])
    assert sorted(read) == [0, 1, 2] and list(sheets) == [4]
    assert sheets[4].words == 'the 7 crops in which cluster 4 is likeliest, with mean scores from 0.90 to 0.70'
    found = np.array(Image.open(io.BytesIO(sheets[4].content)), float)
    assert found.shape == (2 * 64 + 4, 6 * 64 + 5 * 4, 3)
    for left, top, colour in ((0, 0, (250, 20, 20)), (68, 0, (200, 200, 200)), (0, 68, (10, 10, 10)), (68, 68, (128, 128, 128))):
        np.testing.assert_allclose(found[top + 16 : top + 48, left + 16 : left + 48].mean((0, 1)), colour, atol=4)
