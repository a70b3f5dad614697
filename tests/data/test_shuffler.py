"""The order of prepared examples against that of TFDS's own shuffler, and what it takes."""

import tracemalloc

import numpy as np
import pytest
from tensorflow_datasets.core import shuffle

from ar_seg_jax.data import builder, shuffler, textures
from ar_seg_jax.data.limits import DataError

EXAMPLES = [(f'image {index}', np.random.default_rng(index).bytes(200 + index)) for index in range(300)]


def _filled(kind, directory, examples=EXAMPLES):
    found = kind(directory, 'train')
    for example in examples:
        found.add(*example)
    return found


@pytest.mark.parametrize('most', [2**28, 20_000, 0], ids=['in memory', 'in files', 'all in files'])
def test_the_order_is_that_of_tfds_whatever_is_in_files(tmp_path, monkeypatch, most):
    monkeypatch.setattr(shuffler, '_MOST', most)
    ours, theirs = (_filled(kind, tmp_path) for kind in (shuffler.Shuffler, shuffle.Shuffler))
    assert bool(list(tmp_path.iterdir())) == (most < 2**28)
    assert list(ours) == list(theirs)
    assert (ours.size, ours.num_examples) == (theirs.size, theirs.num_examples) == (sum(range(200, 500)), 300)
    assert sum(ours.bucket_lengths) == 300 and not list(tmp_path.iterdir())


def test_two_examples_of_one_key_are_refused_as_by_tfds(tmp_path, monkeypatch):
    monkeypatch.setattr(shuffler, '_MOST', 30_000)
    for kind in (shuffler.Shuffler, shuffle.Shuffler):
        with pytest.raises(shuffle.DuplicatedKeysError):
            list(_filled(kind, tmp_path, [*EXAMPLES, ('image 7', b'another')]))


def test_files_that_cannot_be_written_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(shuffler, '_MOST', 30_000)
    with pytest.raises(DataError, match=r'gone: cannot write the prepared data \(.*No such file.*\); is the disk full\?'):
        _filled(shuffler.Shuffler, tmp_path / 'gone')


def test_memory_does_not_grow_with_the_examples(tmp_path, monkeypatch):
    monkeypatch.setattr(shuffler, '_MOST', 300_000)
    monkeypatch.setattr(shuffler, '_BUCKETS_BITS', 5)
    peaks = []
    for count in (2000, 10_000):
        tracemalloc.start()
        found = _filled(shuffler.Shuffler, tmp_path, ((str(index), bytes(500)) for index in range(count)))
        assert sum(1 for _ in found) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0] < 1_200_000 < 10_000 * 500 / 4  # a bucket of 10,000 takes 0.2 MB when it is sorted


def test_prepared_files_are_the_same_bytes_with_and_without_files_in_between(tmp_path, monkeypatch):
    contents, left = [], []
    for most in (2**28, 0):
        monkeypatch.setattr(shuffler, '_MOST', most)
        data = textures.builder(data_dir=str(tmp_path / str(most)), size=32, train_count=12, val_count=3)
        directory = builder.prepare(data).data_path
        contents.append({path.name: path.read_bytes() for path in directory.glob('*.array_record*')})
        left += directory.glob('*.tmp')
    assert contents[0] == contents[1] and len(contents[0]) == 2 and not left
