"""Mean and deviation of channels against NumPy's."""

import numpy as np
import pytest

from ar_seg_jax.data import images, moments
from ar_seg_jax.data.builder import HAS_NODATA, NODATA


def _records(pixels, labels, **more):
    return [
        {'id': b'x', 'image': images.encode_png(image), 'label': images.encode_png(label), **more}
        for image, label in zip(pixels, labels, strict=True)
    ]


@pytest.mark.parametrize('channels', [3, 4, 6])
def test_they_are_those_of_all_pixels_with_data(channels):
    rng = np.random.default_rng(0)
    sizes = [(9, 12), (20, 8), (7, 7)]
    pixels = [rng.integers(0, 80 * (number + 1), (*size, channels), np.uint8) for number, size in enumerate(sizes)]
    labels = [rng.choice(np.array([0, 1, NODATA], np.uint8), size) for size in sizes]
    found = moments.measured(_records(pixels, labels, **{HAS_NODATA: True}))
    seen = np.concatenate([image[label != NODATA] for image, label in zip(pixels, labels, strict=True)]) / 255
    np.testing.assert_allclose(found.mean, seen.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, seen.std(0), rtol=1e-12)


def test_of_many_images_some_are_looked_at_evenly_spread_and_the_same_ones_each_time(monkeypatch):
    monkeypatch.setattr(moments, '_MOST', 3)
    pixels = [np.full((2, 2, 3), 10 * number, np.uint8) for number in range(9)]
    records = _records(pixels, np.zeros((9, 2, 2), np.uint8))
    found = moments.measured(records)
    np.testing.assert_allclose(found.mean, np.full(3, 40 / 255))
    np.testing.assert_allclose(found.deviation, np.full(3, np.std([0, 40, 80]) / 255))
    assert found == moments.measured(records)


def test_the_deviation_of_a_constant_channel_is_one_level():
    image = np.stack([np.arange(16).reshape(4, 4), np.full((4, 4), 7), np.zeros((4, 4))], axis=2).astype(np.uint8)
    found = moments.measured(_records([image], [np.zeros((4, 4), np.uint8)]))
    np.testing.assert_allclose(found.deviation, [np.arange(16).std() / 255, 1 / 255, 1 / 255])
