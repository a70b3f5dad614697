"""What an encoder gives of prepared images: computed once for each encoder and split, and cut together with the images."""

import functools
import io
import itertools
from pathlib import Path

import numpy as np
import pytest

from ar_seg_jax.data import beside, builder, encodings, images, pipeline, prepared, superpixels, textures
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import Encoder
from ar_seg_jax.training import delivery

CELL = 4


def _means(image):
    """Of each cell the mean of its pixels, the last ones repeated where a cell is not full."""
    fill = [(0, 0), *((0, -side % CELL) for side in image.shape[1:3]), (0, 0)]
    image = np.pad(image, fill, mode='edge').astype(np.float32)
    batch, height, width, channels = image.shape
    return image.reshape(batch, height // CELL, CELL, width // CELL, CELL, channels).mean((2, 4)).astype(np.float16)


@pytest.fixture
def data(tmp_path):
    return builder.prepare(textures.builder(data_dir=str(tmp_path), size=46, train_count=19, val_count=2))


@pytest.fixture
def calls():
    return []


@pytest.fixture
def encoder(calls):
    def encode(image):
        calls.append(image.shape)
        return _means(image)

    return Encoder('means', CELL, encode)


def test_whole_images_are_encoded_once_in_stacks_of_one_size(data, encoder, calls):
    found = [pipeline.decode(record) for record in beside.source(data, 'train', [encodings.part(encoder)])]
    assert len(found) == 19 and calls == 3 * [(8, 46, 46, 3)]
    for example in found:
        np.testing.assert_array_equal(example['encoded'], _means(example['image'][None])[0])
    beside.source(data, 'train', [encodings.part(encoder)])
    assert len(calls) == 3
    beside.source(data, 'val', [encodings.part(encoder)])
    beside.source(data, 'train', [encodings.part(encoder._replace(name='others'))])
    assert len(calls) == 7 and len([*Path(data.data_dir).glob('features-*.array_record')]) == 3


def test_images_of_several_sizes_are_encoded_in_their_order(data, encoder, monkeypatch):
    def sized(record):
        side = 20 + 8 * (int(record['id'].decode().rpartition('_')[2]) // 5 % 2)
        decoded = decode(record)
        return {**decoded, 'image': decoded['image'][:side]}

    decode = pipeline.decode
    monkeypatch.setattr(pipeline, 'decode', sized)
    records = beside.source(data, 'train', [encodings.part(encoder)])
    heights = {}
    for record in records:
        found = sized(record)
        heights.setdefault(len(found['image']), []).append(found['encoded'].shape[0])
    assert {height: set(cells) for height, cells in heights.items()} == {20: {5}, 28: {7}}


def test_crops_begin_between_cells_and_have_theirs(data, encoder):
    options = {'crop_size': (16, 22), 'batch_size': 4, 'seed': 3, 'read_threads': 1, 'cell': CELL}
    examples = beside.source(data, 'train', [encodings.part(encoder)])
    whole, places = [pipeline.decode(record) for record in examples], set()
    for batch in itertools.islice(pipeline.training_iterator(examples, **options), 20):
        assert batch['encoded'].shape == (4, 4, 6, 3) and batch['encoded'].dtype == np.float16
        for image, encoded in zip(batch['image'], batch['encoded'], strict=True):
            (example, row, column) = _place(whole, image)
            assert row % CELL == column % CELL == 0
            cells = example['encoded'][row // CELL : row // CELL + 4, column // CELL : column // CELL + 6]
            np.testing.assert_array_equal(encoded, cells)
            places.add((row, column))
    assert {row for row, _ in places} == set(range(0, 31, CELL)) and {column for _, column in places} == set(range(0, 25, CELL))


def _place(whole, crop):
    windows = np.lib.stride_tricks.sliding_window_view
    for example in whole:
        fits = (windows(example['image'], crop.shape)[:, :, 0] == crop).all(axis=(2, 3, 4))
        for row, column in np.argwhere(fits):
            return example, int(row), int(column)
    raise AssertionError('a crop of no image')


def test_nothing_is_left_where_the_work_is_left(data, encoder):
    def guard(items):
        yield next(iter(items))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        beside.source(data, 'train', [encodings.part(encoder)], guard)
    assert not [*Path(data.data_dir).glob('features-*'), *Path(data.data_dir).glob('.*partial')]


def test_what_a_killed_process_left_is_written_over(data, encoder):
    beside.source(data, 'train', [encodings.part(encoder)])
    (file,) = Path(data.data_dir).glob('features-*')
    left, content = file.with_name(f'.{file.name}.partial'), file.read_bytes()
    file.rename(left)
    beside.source(data, 'train', [encodings.part(encoder)])
    assert file.read_bytes() == content and not left.exists()


def test_who_waits_for_another_process_can_leave(data, encoder):
    with prepared.lock_to_prepare(Path(data.data_dir)), pytest.raises(delivery.Interrupted):
        leaving = functools.partial(delivery.delivered, leave=lambda: True)
        beside.source(data, 'train', [encodings.part(encoder), superpixels.part(30)], leaving)
    assert not [*Path(data.data_dir).glob('features-*'), *Path(data.data_dir).glob('superpixels-*')]


def test_errors_of_the_encoder_are_its_own(data, encoder):
    def encode(image):
        raise RuntimeError('RESOURCE_EXHAUSTED: out of memory')

    with pytest.raises(RuntimeError, match=r'^RESOURCE_EXHAUSTED'):
        beside.source(data, 'train', [encodings.part(encoder._replace(encode=encode))])


def _stored(encoded):
    if isinstance(encoded, bytes):
        return encoded
    file = io.BytesIO()
    np.save(file, encoded)
    return file.getvalue()


@pytest.mark.parametrize(
    ('encoded', 'message'),
    [
        (b'nonsense', r"^prepared example 'x', its features of the encoder: .*; remove their file$"),
        (np.zeros((2, 2), np.float16), r'its features of the encoder are 2 axes of float16; remove their file$'),
        (np.zeros((2, 2, 3), np.float64), r'its features of the encoder are 3 axes of float64; remove their file$'),
    ],
)
def test_damaged_features_are_told(encoded, message):
    record = {
        'id': b'x',
        'image': images.encode_png(np.zeros((8, 8, 3), np.uint8)),
        'label': images.encode_png(np.zeros((8, 8), np.uint8)),
        'encoded': _stored(encoded),
    }
    with pytest.raises(DataError, match=message):
        pipeline.decode(record)


def test_features_of_other_images_are_told(data, encoder):
    wrong = encoder._replace(encode=lambda image: _means(image)[:, :-1])
    examples = beside.source(data, 'train', [encodings.part(wrong)])
    iterator = pipeline.training_iterator(examples, crop_size=16, batch_size=4, seed=3, read_threads=0, cell=CELL)
    with pytest.raises(DataError, match=r'has \(11, 12\) cells of features, expected \(12, 12\); remove their file'):
        next(iterator)


def test_a_place_that_cannot_be_written_is_told(data, encoder, monkeypatch):
    def read_only(directory):
        raise OSError(30, 'Read-only file system')

    monkeypatch.setattr('ar_seg_jax.data.prepared.lock_to_prepare', read_only)
    with pytest.raises(
        DataError, match=r'cannot write the features of the encoder here \(.*Read-only file system\); set --config'
    ):
        beside.source(data, 'train', [encodings.part(encoder)])


def test_superpixels_go_with_them(data, encoder):
    parts = [superpixels.part(30), encodings.part(encoder)]
    both, first, second = (beside.source(data, 'train', some) for some in (parts, parts[:1], parts[1:]))
    for record, regions, encoded in zip(both, first, second, strict=True):
        assert record == {**regions, **encoded}
    options = {'crop_size': 16, 'batch_size': 4, 'seed': 3, 'read_threads': 1, 'cell': CELL}
    batch = next(pipeline.training_iterator(both, **options))
    assert batch['regions'].shape == (4, 16, 16) and batch['encoded'].shape == (4, 4, 4, 3)
