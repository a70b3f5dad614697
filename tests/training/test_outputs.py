"""What becomes of a run's files where the disk is full or read-only for a while."""

import errno
import os

import pytest

from ar_seg_jax import files
from ar_seg_jax.errors import UserError
from ar_seg_jax.training.metrics import MetricWriter
from ar_seg_jax.training.outputs import Outputs


@pytest.fixture
def disk(monkeypatch):
    """`disk(errno.ENOSPC)` lets every file that is opened for writing fail so; `disk(0)` ends it."""
    state = {'error': 0}

    opened, descriptor = files.Path.open, os.open

    def fail():
        raise OSError(state['error'], os.strerror(state['error']))  # without a name, as where writing fails

    def path_open(path, mode='r', *arguments, **options):
        return fail() if state['error'] and mode[0] in 'wax' else opened(path, mode, *arguments, **options)

    def os_open(path, flags, *arguments, **options):
        return fail() if state['error'] and flags & os.O_CREAT else descriptor(path, flags, *arguments, **options)

    monkeypatch.setattr(files.Path, 'open', path_open)
    monkeypatch.setattr(files.os, 'open', os_open)
    return lambda error: state.update(error=error)


@pytest.mark.parametrize(('error', 'words'), [(errno.ENOSPC, 'No space left on device'), (errno.EROFS, 'Read-only file system')])
def test_nothing_is_lost_while_the_disk_takes_nothing(tmp_path, disk, caplog, error, words):
    one, other = tmp_path / 'pictures' / 'one.png', tmp_path / 'metrics.jsonl'
    with Outputs(tmp_path) as outputs:
        outputs.append(other, b'1')
        disk(error)
        for number in (b'2', b'3'):
            outputs.append(other, number)
            outputs.write(one, b'picture ' + number)
        assert other.read_bytes() == b'1' and not one.exists()
        told = [record.message for record in caplog.records]
        assert told == [
            f'Could not write {path}: {words}. What belongs there is kept and tried again later' for path in (other, one)
        ]
        disk(0)
        outputs.append(other, b'4')
    assert (other.read_bytes(), one.read_bytes()) == (b'1234', b'picture 3')
    assert [record.message for record in caplog.records[2:]] == [
        f'{path} is written again, and complete' for path in (other, one)
    ]


def test_what_is_written_anew_and_then_appended_to_is_both(tmp_path, disk):
    path = tmp_path / 'metrics.jsonl'
    path.write_bytes(b'old')
    with Outputs(tmp_path) as outputs:
        disk(errno.ENOSPC)
        outputs.write(path, b'new')
        outputs.append(path, b', more')
        disk(0)
    assert path.read_bytes() == b'new, more'


def test_what_is_never_written_is_listed_in_the_end(tmp_path, disk, caplog):
    one, other = tmp_path / 'one', tmp_path / 'other'
    disk(errno.EROFS)
    with pytest.raises(UserError, match=rf'^could not be written, and is lost: {one}, {other}$'), Outputs(tmp_path) as outputs:
        outputs.write(one, b'1')
        outputs.append(other, b'2')
    with pytest.raises(KeyError), Outputs(tmp_path) as outputs:  # an error that is there already is not replaced
        outputs.write(one, b'1')
        raise KeyError
    assert caplog.messages[-1] == f'could not be written, and is lost: {one}'


def test_a_run_logs_on_beside_a_full_disk(tmp_path, disk):
    expected, found = tmp_path / 'expected', tmp_path / 'found'
    for directory in (expected, found):
        with Outputs(directory) as outputs:
            writer = MetricWriter(outputs)
            disk(errno.ENOSPC if directory == found else 0)
            for step in range(3):
                writer.training(step, {'loss': 0.5 * step})
            disk(0)
    one, other = ((directory / 'metrics.jsonl').read_text() for directory in (expected, found))
    assert one == other and one.count('\n') == 3
    sizes = [next((directory / 'tensorboard').iterdir()).stat().st_size for directory in (expected, found)]
    assert sizes[0] == sizes[1]


def test_half_of_what_is_appended_is_taken_back(tmp_path, full_disk):
    """A write is cut short where only a part of it has room."""
    path = tmp_path / 'file'
    full_disk(True)
    files.append(path, bytes(99_990))
    with pytest.raises(OSError, match='No space left on device') as caught:
        files.append(path, bytes(20))
    assert caught.value.filename == str(path)
    assert path.stat().st_size == 99_990
