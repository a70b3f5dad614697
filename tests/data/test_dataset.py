"""What a run reads of a prepared data set, and that all of it follows from the step."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from ar_seg_jax.data import builder, pipeline, textures
from ar_seg_jax.data.dataset import Dataset
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.epochs import Epochs
from ar_seg_jax.interfaces import VOID, Encoder
from tests.support import feeds


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    """18 collages to train with, 5 to evaluate with."""
    data_dir = str(tmp_path_factory.mktemp('tfds'))
    return builder.prepare(textures.builder(data_dir=data_dir, size=24, train_count=18, val_count=5))


def _dataset(prepared, batch_size=4, micro_batches=1, devices=2, seed=0):
    options = {'crop_size': 16, 'batch_size': batch_size, 'micro_batches': micro_batches}
    evaluation = {'crop_size': 0, 'batch_size': 2}
    return Dataset(prepared, 'train', options, evaluation, feeds.mesh_of(devices), seed)


def _assert_same(found, expected):
    for one, two in zip(found, expected, strict=True):
        assert one.keys() == two.keys() == {'image', 'label'}
        for name, array in one.items():
            np.testing.assert_array_equal(array, two[name])


def test_epochs_are_those_of_the_training_split(prepared):
    data = _dataset(prepared, batch_size=6)
    assert data.epochs == Epochs(images=18, batch_size=6)
    assert data.image_shape == (6, 16, 16, 3)


def test_too_few_examples_for_a_batch_are_refused(prepared):
    with pytest.raises(
        DataError, match=r'^18 training examples are fewer than a batch of 20; lower --config\.pipeline\.batch_size$'
    ):
        _dataset(prepared, 20).training(0)


def test_batches_of_evaluation_are_not_larger_than_the_split_needs(prepared):
    data = dataclasses.replace(_dataset(prepared), evaluation_options={'crop_size': 0, 'batch_size': 10_000_000})
    (batch,), (places,) = data.evaluation('val'), data.evaluation_places('val')
    assert batch['image'].shape == (6, 24, 24, 3)  # 5 images on 2 devices
    assert places.tolist() == [0, 1, 2, 3, 4, -1]


@pytest.mark.parametrize(('number', 'first', 'last'), [(0, 0, 4), (1, 4, 8), (2, 9, 13)])
def test_an_epoch_has_those_batches_of_training_that_have_images_of_the_pass(prepared, number, first, last):
    data = _dataset(prepared)  # a pass ends in the middle of batch 4, the next one with batch 8
    found = list(data.epoch(number))
    _assert_same(found, itertools.islice(data.training(first), last + 1 - first))
    _assert_same(found, itertools.islice(data.training(0), first, last + 1))
    for array in jax.tree.leaves(found):
        assert isinstance(array, jax.Array) and len(array.devices()) == 2 and not array.is_fully_replicated


def test_the_batches_of_an_epoch_are_whole_where_those_of_training_are_in_parts(prepared):
    parted = _dataset(prepared, micro_batches=2)
    assert next(parted.training(0))['image'].shape == (2, 2, 16, 16, 3)
    _assert_same(parted.epoch(3), _dataset(prepared).epoch(3))
    _assert_same(parted.sample(), _dataset(prepared).sample())


def test_an_encoder_sees_the_images_of_its_batches(prepared):
    """24 pixels are three cells of 8, a crop of 16 is two."""

    def encode(image):
        return image.reshape(len(image), 3, 8, 3, 8, 3).mean((2, 4)).astype(np.float16)

    data = _dataset(prepared, micro_batches=2)
    batches = list(itertools.islice(data.training(0, Encoder('means', 8, encode)), 6))
    for batch in batches:
        means = batch['image'].reshape(2, 2, 2, 8, 2, 8, 3).mean((3, 5))
        np.testing.assert_allclose(batch['encoded'], means, rtol=1e-3)
    seen = []
    later = next(data.training(4, Encoder('means', 8, seen.append)))
    np.testing.assert_array_equal(later['encoded'], batches[4]['encoded'])
    assert not seen


def test_the_sample_is_always_that_of_the_first_batches(prepared):
    data = _dataset(prepared)
    found = list(data.sample())
    assert len(found) == 20
    _assert_same(found, data.sample())
    _assert_same(found, itertools.islice(data.training(0), 20))
    whole = list(data.whole_sample())
    assert all(isinstance(array, np.ndarray) for array in jax.tree.leaves(whole))
    _assert_same(whole, found)
    other = next(_dataset(prepared, seed=1).sample())
    assert not np.array_equal(other['image'], found[0]['image'])


def test_a_split_is_evaluated_once_in_its_order_and_filled_up_with_void(prepared):
    data = _dataset(prepared)
    batches = list(data.evaluation('val'))
    images, labels = (np.concatenate([batch[name] for batch in batches]) for name in ('image', 'label'))
    assert images.shape == (6, 24, 24, 3) and (labels[5] == VOID).all()
    for index, example in enumerate(map(pipeline.decode, data.examples('val'))):
        np.testing.assert_array_equal(images[index], example['image'])
        np.testing.assert_array_equal(labels[index], example['label'])


def test_shuffled_batches_are_crops_of_the_split_that_is_named(prepared):
    data = _dataset(prepared)
    crops = [crop for batch in data.shuffled('val', 3) for crop in np.asarray(batch['image'])]
    assert len(crops) == 12 and {crop.shape for crop in crops} == {(16, 16, 3)}
    whole = [pipeline.decode(example)['image'][..., 0] for example in data.examples('val')]
    windows = np.concatenate([np.lib.stride_tricks.sliding_window_view(image, (16, 16)).reshape(-1, 256) for image in whole])
    assert all((windows == crop[..., 0].reshape(1, -1)).all(1).any() for crop in crops)
