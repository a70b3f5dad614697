import gzip
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

from ar_seg_jax.data import builder as builders
from ar_seg_jax.data import multi_object_records, records
from ar_seg_jax.data.limits import DataError
from tests.support import stored

RNG = np.random.default_rng(0)


def _crc32c(data):
    """Bit by bit, as RFC 3720 defines it, and masked as TensorFlow does."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _record(payload):
    length = struct.pack('<Q', len(payload))
    return length + struct.pack('<I', _crc32c(length)) + payload + b'\0\0\0\0'  # the sum of the payload is not looked at


def _payload(**arrays):
    """A tf.train.Example in which every byte of the arrays is a string of its own."""
    found = tf_example_pb2.Example()
    for key, array in arrays.items():
        pieces = np.stack([np.full(array.size, 10), np.ones(array.size), array.reshape(-1)], axis=1).astype(np.uint8)
        # What protobuf makes of 10, 1, byte, 10, 1, byte, ... is a list of such strings, which is quicker than making a million.
        found.features.feature[key].bytes_list.CopyFrom(tf_feature_pb2.BytesList.FromString(pieces.tobytes()))
    found.features.feature['visibility'].float_list.value.extend([1.0, 0.5])
    return found.SerializeToString()


def _drawn(count, height, width, entities, channels=3, last=False):
    """Images, the entity of each pixel, and payloads."""
    images = RNG.integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    entity = RNG.integers(0, entities, (count, -(-height // 4), -(-width // 4))).repeat(4, axis=1).repeat(4, axis=2)
    entity = entity[:, :height, :width]
    masks = 255 * (entity[..., None] == np.arange(entities)).astype(np.uint8)
    masks = masks if last else np.moveaxis(masks, -1, 1)
    return images, entity, [_payload(image=image, mask=mask) for image, mask in zip(images, masks, strict=True)]


def _write(path, payloads, compress=gzip.compress):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(compress(b''.join(map(_record, payloads))))


def _builder(tmp_path, **options):
    return multi_object_records.builder(data_dir=str(tmp_path / 'tfds'), root=str(tmp_path / 'raw'), **options)


def _examples(data):
    return {split: {int(name): example for name, example in found.items()} for split, found in stored.examples(data).items()}


def test_a_byte_is_a_string_of_its_own():
    """What `_payload` writes, against a list of such strings that protobuf writes."""
    image = RNG.integers(0, 256, (3, 2, 1), dtype=np.uint8)
    found = tf_example_pb2.Example.FromString(_payload(image=image))
    assert list(found.features.feature['image'].bytes_list.value) == [bytes([level]) for level in image.reshape(-1)]


def test_clevr_has_the_crop_and_the_splits_of_ast(tmp_path):
    images, entity, payloads = _drawn(2, 240, 320, 11)
    place = tmp_path / 'raw' / 'clevr_with_masks' / 'clevr_with_masks_train.tfrecords'
    _write(place, [*payloads * 5, b'not used'], lambda content: gzip.compress(content, 1))  # eleven, for speed in turns
    data = _builder(tmp_path, count=10)
    splits = _examples(data)
    assert {split: sorted(found) for split, found in splits.items()} == {'test': [0], 'val': [1], 'train': list(range(2, 10))}
    assert data.builder_config.instances and data.builder_config.rescale == 128 / 192
    box = (64, 24, 256, 216)
    for index, example in (pair for found in splits.values() for pair in found.items()):
        image = Image.fromarray(images[index % 2]).crop(box).resize((128, 128), Image.Resampling.BILINEAR)
        label = Image.fromarray(entity[index % 2].astype(np.uint8)).crop(box).resize((128, 128), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(example['image'], np.array(image))
        np.testing.assert_array_equal(example['label'], np.array(label))


def test_the_published_numbers_of_examples_are_the_default():
    assert multi_object_records._counts('clevr_with_masks', 'ast', 0) == {'test': 10_000, 'val': 10_000, 'train': 80_000}
    assert multi_object_records._counts('clevr_with_masks', 'genesis', 0) == {'test': 10_000, 'val': 10_000, 'train': 50_000}
    assert multi_object_records._counts('tetrominoes', 'genesis', 0) == {'test': 10_000, 'val': 10_000, 'train': 40_000}
    assert multi_object_records._counts('objects_room_six_objects', 'ast', 0) == {}


def test_genesis_takes_the_nearest_pixels_as_pytorch_does(tmp_path, monkeypatch):
    monkeypatch.setattr(multi_object_records, '_GENESIS_HELD_OUT', 1)
    images, entity, payloads = _drawn(4, 35, 35, 4)
    _write(tmp_path / 'raw' / 'tetrominoes_train.tfrecords', payloads)
    splits = _examples(_builder(tmp_path, variant='tetrominoes', protocol='genesis', count=4))
    assert {split: sorted(found) for split, found in splits.items()} == {'test': [0], 'val': [1], 'train': [2, 3]}
    place = np.floor(np.arange(32) * np.float32(35 / 32)).astype(int)
    for index, example in splits['train'].items():
        np.testing.assert_array_equal(example['image'], images[index][place][:, place])
        np.testing.assert_array_equal(example['label'], entity[index][place][:, place])


@pytest.mark.parametrize(('name', 'entities', 'channels'), [('binarized', 4, 1), ('colored_on_grayscale', 6, 3)])
def test_masks_of_sprites_have_their_entities_last(tmp_path, name, entities, channels):
    images, entity, payloads = _drawn(10, 64, 64, entities, channels, last=True)
    _write(tmp_path / 'raw' / f'multi_dsprites_{name}.tfrecords', payloads)
    splits = _examples(_builder(tmp_path, variant=f'multi_dsprites_{name}', count=10))
    for index, example in splits['train'].items():
        np.testing.assert_array_equal(example['image'], np.broadcast_to(images[index], (64, 64, 3)))
        np.testing.assert_array_equal(example['label'], entity[index])


def test_sky_floor_and_walls_of_a_room_are_background_and_a_file_of_a_test_is_not_split(tmp_path):
    _, entity, payloads = _drawn(3, 64, 64, 10)
    _write(tmp_path / 'raw' / 'objects_room_objects_room_test_six_objects.tfrecords', payloads, zlib.compress)
    splits = _examples(_builder(tmp_path, variant='objects_room_six_objects'))
    assert list(splits) == ['test'] and len(splits['test']) == 3
    for index, example in splits['test'].items():
        np.testing.assert_array_equal(example['label'], np.where(entity[index] < 4, 0, entity[index] - 3))


def test_an_array_may_be_one_string(tmp_path):
    array = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    written = tf_example_pb2.Example()
    written.features.feature['image'].bytes_list.value.append(array.tobytes())
    found = records.Example(written.SerializeToString(), tmp_path / 'x.tfrecords', 0)
    np.testing.assert_array_equal(found.array('image', (4, 5, 3)), array)


def test_records_longer_than_a_part_of_the_file_are_read_whole(tmp_path):
    payloads = [RNG.bytes(3_000_000), b'', RNG.bytes(5)]
    _write(tmp_path / 'x.tfrecords', payloads)
    assert list(records.read(tmp_path / 'x.tfrecords')) == payloads


ROOM = 'objects_room_test_empty_room.tfrecords'
GOOD = _payload(image=np.zeros((64, 64, 3), np.uint8), mask=np.zeros((4, 64, 64, 1), np.uint8))


def _flipped(content):
    """One bit in the middle of data that is stored as it is, which only the sum of the file can find out."""
    return content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', r'the file is empty'),
        (b'not compressed at all', r'damaged TFRecord file \(Error -3'),
        (gzip.compress(_record(GOOD) * 2)[:-50], r'damaged TFRecord file \(the compressed data ends too early\)'),
        (_flipped(gzip.compress(_record(GOOD), 0)), r'damaged TFRecord file \(Error -3 .*incorrect data check'),
        (gzip.compress(_record(GOOD)[:-9]), r'the file ends within record 0; fetch the file again'),
        (gzip.compress(_record(GOOD) + b'\1' + _record(GOOD)), r'wrong length of record 1'),
        (gzip.compress(_record(b'\x0a\x05abc')), r'record 0: not a tf.train.Example'),
        (
            gzip.compress(_record(_payload(image=np.zeros((64, 64, 3), np.uint8)))),
            r"record 0: no feature 'mask', found \['image'",
        ),
        (
            gzip.compress(_record(_payload(image=np.zeros((35, 35, 3), np.uint8), mask=np.zeros(9, np.uint8)))),
            r"record 0: expected 64 x 64 x 3 bytes in 'image', found 3675; is it another data set\?",
        ),
    ],
    # The bytes of gzip have a time in them; workers must agree on names.
    ids=['empty', 'plain', 'cut', 'flipped', 'short', 'shifted', 'no example', 'no mask', 'other size'],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    (tmp_path / 'raw').mkdir()
    (tmp_path / 'raw' / ROOM).write_bytes(content)
    with pytest.raises(DataError, match=rf'{ROOM}: .*{message}|{ROOM}: {message}'):
        builders.prepare(_builder(tmp_path, variant='objects_room_empty_room'))


def test_too_few_examples_are_told(tmp_path):
    _write(tmp_path / 'raw' / 'objects_room_train.tfrecords', _drawn(11, 64, 64, 7)[2])
    with pytest.raises(DataError, match=r'expected 12 examples, but the file ends within those of the split train'):
        builders.prepare(_builder(tmp_path, variant='objects_room', count=12))
    with pytest.raises(DataError, match=r'data.count=20000 examples are too few for test and val of 10000 each'):
        _builder(tmp_path, variant='objects_room', protocol='genesis', count=20_000)


def test_files_and_options_that_do_not_fit_are_named(tmp_path):
    (tmp_path / 'raw').mkdir()
    with pytest.raises(DataError, match=r'raw: expected one file clevr_with_masks_train\.tfrecords .*, found none'):
        _builder(tmp_path)
    for place in ('a', 'b'):
        _write(tmp_path / 'raw' / place / 'clevr_with_masks_train.tfrecords', [])
    with pytest.raises(DataError, match=r'found a/clevr_with_masks_train\.tfrecords, b/clevr'):
        _builder(tmp_path)
    with pytest.raises(DataError, match="found 'clevr' and 'ast'"):
        _builder(tmp_path, variant='clevr')
