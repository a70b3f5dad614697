import itertools

import numpy as np
import pytest

from ar_seg_jax.data import images, pipeline
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.epochs import Epochs
from ar_seg_jax.interfaces import VOID


def _records(count, size=12):
    """Encoded examples whose pixels are their number."""
    return [
        {
            'id': str(index).encode(),
            'image': images.encode_png(np.full((size, size, 3), index, np.uint8)),
            'label': images.encode_png(np.arange(size * size, dtype=np.uint8).reshape(size, size)),
        }
        for index in range(count)
    ]


def _iterator(records, **options):
    options = {'crop_size': 8, 'batch_size': 4, 'seed': 3, 'read_threads': 2} | options
    return pipeline.training_iterator(records, **options)


def _numbers(batches):
    return [batch['image'][:, 0, 0, 0].tolist() for batch in batches]


def test_every_epoch_has_each_example_once_in_another_order():
    iterator = _iterator(_records(12))
    epochs = [list(itertools.chain(*_numbers(itertools.islice(iterator, 3)))) for _ in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_batches_of_an_epoch_have_every_example_where_passes_do_not_end_with_batches():
    epochs = Epochs(images=10, batch_size=4)
    for epoch in range(4):
        numbers = epochs.batches(epoch)
        found = _numbers(itertools.islice(_iterator(_records(10), start=numbers.start), len(numbers)))
        in_pass = [index for number, batch in zip(numbers, found, strict=True) for index in _of_pass(epoch, number, batch)]
        assert sorted(in_pass) == list(range(10))


def _of_pass(epoch, number, batch):
    """Those of a batch of four that are images of a pass of ten."""
    return [index for place, index in enumerate(batch, 4 * number) if place // 10 == epoch]


def test_batches_depend_on_the_seed_and_not_on_threads():
    first, again, other = (
        [next(iterator) for _ in range(4)]
        for iterator in (
            _iterator(_records(12)),
            _iterator(_records(12), read_threads=1),
            _iterator(_records(12), seed=4),
        )
    )
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one['image'], two['image'])
        np.testing.assert_array_equal(one['label'], two['label'])
    assert _numbers(first) != _numbers(other)


def test_crops_of_image_and_label_are_the_same_place():
    records = _records(8)
    for record in records:  # an image that is its label
        label = np.arange(144, dtype=np.uint8).reshape(12, 12)
        record['image'] = images.encode_png(np.repeat(label[..., None], 3, axis=2))
    batches = [next(_iterator(records, seed=seed)) for seed in range(5)]
    corners = set()
    for batch in batches:
        np.testing.assert_array_equal(batch['image'][..., 0], batch['label'])
        corners |= set(batch['label'][:, 0, 0].tolist())
    assert len(corners) > 5


def test_boxes_are_where_crops_are_cut_and_are_there_where_they_are_wanted():
    """In shares of the sides of the image. Two of three batches are skipped, parts and processes have their own."""
    label = np.arange(10 * 16, dtype=np.uint8).reshape(10, 16)
    encoded = {'image': images.encode_png(np.repeat(label[..., None], 3, axis=2)), 'label': images.encode_png(label)}
    records = [{'id': str(index).encode(), **encoded} for index in range(8)]
    batch = next(_iterator(records, boxes=True, start=2))
    assert batch['box'].dtype == np.float32 and batch['box'].shape == (4, 4)
    for image, crop, (top, left, height, width) in zip(batch['image'], batch['label'], batch['box'], strict=True):
        ends = np.array([top, top + height]) * 10, np.array([left, left + width]) * 16
        rows, columns = (slice(*np.round(end).astype(int)) for end in ends)
        np.testing.assert_array_equal(crop, label[rows, columns])
        np.testing.assert_array_equal(image[..., 0], label[rows, columns])
        np.testing.assert_allclose(np.concatenate(ends), [rows.start, rows.stop, columns.start, columns.stop], atol=1e-5)
    assert len(np.unique(batch['box'], axis=0)) > 1
    without = next(_iterator(records, start=2))
    assert set(without) == {'image', 'label'} and set(batch) == {*without, 'box'}
    np.testing.assert_array_equal(without['image'], batch['image'])
    shares = [_iterator(records, boxes=True, start=2, micro_batches=2, process_index=n, process_count=2) for n in range(2)]
    parts = [next(share)['box'] for share in shares]
    assert parts[0].shape == (2, 1, 4)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1).reshape(4, 4), batch['box'])


@pytest.mark.parametrize('workers', [0, 2])
def test_a_run_that_goes_on_gets_the_batches_that_follow(workers):
    expected = _numbers(itertools.islice(_iterator(_records(12)), 11))
    assert _numbers(itertools.islice(_iterator(_records(12), start=5, workers=workers), 6)) == expected[5:]


@pytest.mark.parametrize('micro_batches', [1, 2])
@pytest.mark.parametrize('processes', [1, 2, 4])
def test_a_global_batch_is_the_same_however_it_is_split(processes, micro_batches):
    options = {'batch_size': 8, 'start': 1}
    whole = [batch['label'] for batch in itertools.islice(_iterator(_records(12), **options), 3)]
    shares = [
        _iterator(_records(12), micro_batches=micro_batches, process_index=index, process_count=processes, **options)
        for index in range(processes)
    ]
    for batch in whole:
        parts = [next(share)['label'] for share in shares]
        if micro_batches > 1:
            assert parts[0].shape == (micro_batches, 8 // micro_batches // processes, 8, 8)
        together = np.concatenate(parts, axis=int(micro_batches > 1))
        np.testing.assert_array_equal(together.reshape(8, 8, 8), batch)


def test_evaluation_reads_everything_once_and_fills_up_with_void():
    records = _records(7)
    batches = [
        list(pipeline.evaluation_batches(records, crop_size=0, batch_size=2, process_index=index, process_count=2))
        for index in range(2)
    ]
    assert [len(of_process) for of_process in batches] == [2, 2]
    everything = [batch for of_process in batches for batch in of_process]
    labelled = [
        int(image[0, 0, 0])
        for batch in everything
        for image, label in zip(batch['image'], batch['label'], strict=True)
        if (label != VOID).any()
    ]
    assert sorted(labelled) == list(range(7))


def test_every_batch_of_data_with_gaps_has_a_mask_on_every_process():
    records = [{**record, 'nodata': True} for record in _records(3)]
    batches = [
        batch
        for index in range(2)
        for batch in pipeline.evaluation_batches(records, crop_size=0, batch_size=1, process_index=index, process_count=2)
    ]
    assert [bool(batch['mask'].all()) for batch in batches] == [True, True, True, False]  # the last one is filled


def test_evaluation_crops_are_central():
    (batch,) = pipeline.evaluation_batches(_records(1), crop_size=4, batch_size=1)
    np.testing.assert_array_equal(batch['label'][0], np.arange(144).reshape(12, 12)[4:8, 4:8])
    (batch,) = pipeline.evaluation_batches(_records(1), crop_size=(4, 10), batch_size=1)
    np.testing.assert_array_equal(batch['label'][0], np.arange(144).reshape(12, 12)[4:8, 1:11])


def test_crops_may_have_a_height_and_a_width():
    batch = next(_iterator(_records(8), crop_size=(3, 7)))
    assert batch['image'].shape == (4, 3, 7, 3) and batch['label'].shape == (4, 3, 7)
    rows, columns = np.divmod(batch['label'], 12)
    assert (rows - rows[:, :1, :1] == np.arange(3)[None, :, None]).all()
    assert (columns - columns[:, :1, :1] == np.arange(7)[None, None]).all()
    squares, again = (next(_iterator(_records(8), crop_size=size)) for size in (8, (8, 8)))
    np.testing.assert_array_equal(squares['image'], again['image'])


def test_what_does_not_fit_is_named():
    with pytest.raises(DataError, match=r"example '.*' is 12 x 12 pixels, smaller than the crop of 20 x 20"):
        next(_iterator(_records(8), crop_size=20))
    with pytest.raises(DataError, match=r"example '.*' is 12 x 12 pixels, smaller than the crop of 13 x 4"):
        next(_iterator(_records(8), crop_size=(4, 13)))
    with pytest.raises(DataError, match='3 training examples are fewer than a batch of 4'):
        _iterator(_records(3))
    with pytest.raises(DataError, match="example '0' is 6 x 6 pixels, others 12 x 12"):
        list(pipeline.evaluation_batches(_records(1) + _records(1, size=6), crop_size=0, batch_size=2))
