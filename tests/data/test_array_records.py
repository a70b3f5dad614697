"""Records that are read one by one, against those that were written."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from ar_seg_jax.data import builder, pipeline, textures
from ar_seg_jax.data.array_records import ArrayRecords
from ar_seg_jax.data.limits import DataError

RECORDS = [np.random.default_rng(index).bytes(index % 97) for index in range(500)]


@pytest.fixture
def paths(tmp_path):
    """Two files with all records."""
    found = [str(tmp_path / name) for name in ('one', 'two')]
    for path, records in zip(found, (RECORDS[:200], RECORDS[200:]), strict=True):
        writer = ArrayRecordWriter(path, 'group_size:1')
        for record in records:
            writer.write(record)
        writer.close()
    return found


def test_all_records_are_read_from_all_files_in_any_order_by_many_threads(paths):
    data = ArrayRecords(paths)
    order = np.random.default_rng(0).permutation(np.tile(np.arange(500), 10))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(data.__getitem__, order))
    assert len(data) == 500 and found == [RECORDS[index] for index in order]
    assert pickle.loads(pickle.dumps(data))[321] == RECORDS[321]  # as worker processes get it
    for outside in (-1, 500):
        with pytest.raises(ValueError, match='Record key should be in'):
            data[outside]


def test_a_part_of_a_file_is_read_as_such(paths):
    assert list(ArrayRecords(f'{paths[1]}[10:13]')) == RECORDS[210:213]


def test_no_index_is_copied_for_a_record(paths, monkeypatch):
    """Lists of records are what takes longer the more records there are, see `ArrayRecords`."""

    class Ranges:
        def __init__(self, reader):
            self._reader = reader

        def read(self, begin, end):
            assert end == begin + 1
            return self._reader.read(begin, end)

    data = ArrayRecords(paths)
    data._readers = [Ranges(ArrayRecordReader(path)) for path in paths]
    assert [data[index] for index in (0, 199, 200, 499)] == [RECORDS[index] for index in (0, 199, 200, 499)]


def test_prepared_examples_are_read_so_for_splits_of_all_kinds(tmp_path):
    data = builder.prepare(textures.builder(data_dir=str(tmp_path), size=32, train_count=12, val_count=3))
    for split in ('train', 'val', 'train+val', 'train[3:7]+val'):
        found, expected = pipeline.source(data, split), data.as_data_source(split, decoders=None)
        assert isinstance(found._found.data_source, ArrayRecords) and len(found) == len(expected)
        ids = [expected.data_source[index] for index in range(len(expected))]
        assert [found._found.data_source[index] for index in range(len(found))] == ids


def test_a_file_that_was_cut_is_damaged_whatever_is_left_of_it(tmp_path):
    data = builder.prepare(textures.builder(data_dir=str(tmp_path), size=40, train_count=2, val_count=6))
    (path,) = tmp_path.rglob('*-val.array_record*')
    content = path.read_bytes()
    whole = list(pipeline.source(data, 'val'))
    for share in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999):
        path.write_bytes(content[: int(share * len(content))])
        for index, example in enumerate(whole):
            try:
                assert pipeline.source(data, 'val')[index] == example
            except DataError as error:
                assert f"split 'val' in {data.data_dir}: example {index} is damaged" in str(error)
            else:
                assert share > 0.1
