"""Predictors that learned nothing of objects."""

import numpy as np
import pytest

from ar_seg_jax.evaluation import trivial
from tests.support import squares

RNG = np.random.default_rng(0)


def _same_partition(one, other):
    pairs = set(zip(one.ravel().tolist(), other.ravel().tolist(), strict=True))
    return len(pairs) == len({first for first, _ in pairs}) == len({second for _, second in pairs})


def _flooded(mask):
    """The connected parts of a mask, pixel by pixel."""
    found, count = np.zeros(mask.shape, int), 0
    for start in zip(*np.nonzero(mask), strict=True):
        if found[start]:
            continue
        count += 1
        ahead = [start]
        while ahead:
            row, column = ahead.pop()
            inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
            if inside and mask[row, column] and not found[row, column]:
                found[row, column] = count
                ahead += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return found


def test_components_are_those_of_a_flood_and_small_ones_are_left_out():
    mask = RNG.random((20, 30)) < 0.55
    flooded = _flooded(mask)
    counts = np.bincount(flooded.ravel())
    assert (counts[1:] < 3).any() and (counts[1:] >= 3).sum() > 2
    expected = np.where(counts[flooded] >= 3, flooded, 0)  # 0.5 % of 600 pixels
    found = trivial.components(mask)
    assert _same_partition(found, expected) and (found[expected == 0] == 0).all()
    assert np.unique(found).tolist() == list(range(found.max() + 1))


def test_blocks_are_six_of_one_size_and_one_segment_is_all():
    image = np.zeros((8, 9, 3), np.uint8)
    np.testing.assert_array_equal(
        trivial.blocks(image), np.repeat([[0, 0, 0, 1, 1, 1, 2, 2, 2], [3] * 3 + [4] * 3 + [5] * 3], 4, 0)
    )
    assert not trivial.one_segment(image).any()


@pytest.mark.parametrize('index', [0, 1, 2, 3])
def test_squares_on_an_even_floor_are_found_by_their_colours_and_by_what_differs_from_the_usual_image(index):
    image, label = squares.painted(squares.SQUARES[index])
    sample = [{'image': np.stack([squares.painted(one)[0] for one in (*squares.SQUARES, *[[]] * 3)])}]
    found = trivial.predictors(sample, 4, 0, 30.0, image.shape)
    assert list(found) == ['one segment', 'blocks', 'k-means on pixels', 'difference from median']
    for name in ('k-means on pixels', 'difference from median'):
        segments = found[name].predict(image)
        assert _same_partition(segments, label) and (segments[label == 0] == 0).all()
    assert 'difference from median' not in trivial.predictors(sample, 4, 0, 30.0, (32, 32, 3))


def test_the_usual_image_is_the_median_and_a_difference_counts_in_any_channel_from_the_threshold_on():
    images = RNG.integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    usual = trivial.usual_image([{'image': images[:2]}, {'image': images[2:]}])
    np.testing.assert_array_equal(usual, np.sort(images, axis=0)[2])
    image = np.full((4, 4, 3), 100, np.uint8)
    image[:2, :, 2], image[2, :, 0] = 131, 130
    expected = np.zeros((4, 4), int)
    expected[:2] = 1
    np.testing.assert_array_equal(trivial.of_difference(np.full((4, 4, 3), 100.0), 30.0, image), expected)
