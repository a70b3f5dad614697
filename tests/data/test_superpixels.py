"""Superpixels beside prepared data: what they are, that they are computed once, and that crops have their part of them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from ar_seg_jax.data import beside, builder, images, pipeline, superpixels, textures
from ar_seg_jax.data.limits import DataError


@pytest.fixture
def data(tmp_path):
    return builder.prepare(textures.builder(data_dir=str(tmp_path), size=48, train_count=6, val_count=2))


@pytest.mark.parametrize('channels', [3, 5])
def test_superpixels_are_connected_of_the_size_that_is_asked_for_and_end_at_edges(channels):
    image = np.full((40, 60, channels), 60, np.uint8)
    image[:, 33:] = 190
    image[10:20, 10:30, :2] = 240
    found = superpixels.of_image(image, 100)
    numbers = np.unique(found)
    assert numbers.tolist() == list(range(len(numbers))) and 15 <= len(numbers) <= 36
    for number in numbers:
        inside = found == number
        assert ndimage.label(inside)[1] == 1
        assert len(np.unique(image[inside], axis=0)) == 1  # of one colour


def test_more_than_16_bits_can_count_are_refused(monkeypatch):
    monkeypatch.setattr(superpixels, '_MOST', 20)
    with pytest.raises(DataError, match=r'^an image of 60 x 40 pixels has more than 20 superpixels of 16 pixels; raise '):
        superpixels.of_image(np.zeros((40, 60, 3), np.uint8), 16)


def test_they_are_computed_once_for_each_size_and_split(data, monkeypatch):
    found = beside.source(data, 'train', [superpixels.part(64)])
    decoded = [pipeline.decode(record) for record in found]
    assert len(found) == 6
    for example, plain in zip(decoded, pipeline.source(data, 'train'), strict=True):
        plain = pipeline.decode(plain)
        assert example['id'] == plain['id']
        np.testing.assert_array_equal(example['regions'], superpixels.of_image(plain['image'], 64))
    beside.source(data, 'val', [superpixels.part(64)])
    beside.source(data, 'train', [superpixels.part(32)])
    monkeypatch.setattr(superpixels, 'of_image', None)
    again = beside.source(data, 'train', [superpixels.part(64)])
    np.testing.assert_array_equal(pipeline.decode(again[3])['regions'], decoded[3]['regions'])
    assert len([*Path(data.data_dir).glob('superpixels-*')]) == 3 and not [*Path(data.data_dir).glob('.*')]


def test_crops_have_their_part_numbered_from_zero(data):
    options = {'crop_size': 20, 'batch_size': 3, 'seed': 5, 'read_threads': 1}
    iterator, plain = (
        pipeline.training_iterator(examples, **options)
        for examples in (beside.source(data, 'train', [superpixels.part(30)]), pipeline.source(data, 'train'))
    )
    whole = [pipeline.decode(record) for record in beside.source(data, 'train', [superpixels.part(30)])]
    for batch, same in itertools.islice(zip(iterator, plain, strict=True), 3):
        np.testing.assert_array_equal(batch['image'], same['image'])
        assert 'regions' not in same and batch['regions'].dtype == np.int32
        for image, regions in zip(batch['image'], batch['regions'], strict=True):
            assert np.unique(regions).tolist() == list(range(regions.max() + 1))
            (expected,) = _parts(whole, image)
            for number in range(regions.max() + 1):
                assert len(np.unique(expected[regions == number])) == 1
            assert len(np.unique(expected)) == regions.max() + 1


def _parts(whole, crop):
    """The superpixels of an example where its image is this crop."""
    windows = np.lib.stride_tricks.sliding_window_view
    found = []
    for example in whole:
        fits = (windows(example['image'], crop.shape)[:, :, 0] == crop).all(axis=(2, 3, 4))
        found += [example['regions'][row : row + 20, column : column + 20] for row, column in np.argwhere(fits)]
    return found


def test_superpixels_of_other_data_are_refused(data, tmp_path):
    other = builder.prepare(textures.builder(data_dir=str(tmp_path), size=48, train_count=4, val_count=2))
    beside.source(data, 'train', [superpixels.part(64)])
    beside.source(other, 'train', [superpixels.part(64)])
    (mine,), (theirs,) = ([*Path(one.data_dir).glob('superpixels-64-*')] for one in (data, other))
    mine.write_bytes(theirs.read_bytes())
    with pytest.raises(DataError, match=r'superpixels of 64 pixels for 4 examples, expected 6; remove the file$'):
        beside.source(data, 'train', [superpixels.part(64)])


def test_superpixels_of_another_size_than_their_image_are_refused():
    record = {
        'id': b'x',
        'image': images.encode_png(np.zeros((4, 4, 3), np.uint8)),
        'label': images.encode_png(np.zeros((4, 4), np.uint8)),
        'regions': images.encode_png(np.zeros((4, 5), np.uint16)),
    }
    with pytest.raises(DataError, match=r"^prepared example 'x': its superpixels are of another size than its image"):
        pipeline.decode(record)
