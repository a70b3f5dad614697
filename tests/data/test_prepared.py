"""Prepared data on the disk, and what killed preparations left of it."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ar_seg_jax import files
from ar_seg_jax.data import builder, prepared, textures
from ar_seg_jax.errors import UserError
from tests.support import commands

SCRIPT = """
    import os, signal, sys
    from ar_seg_jax.data import builder, textures

    def killed(self):
        yield from ()
        os.kill(os.getpid(), signal.SIGKILL)

    textures.Textures._generate_examples = lambda self, *_: killed(self)
    builder.prepare(textures.builder(data_dir=sys.argv[1], size=48, train_count=2, val_count=1))
"""


def _make(data_dir, count=2):
    return textures.builder(data_dir=str(data_dir), size=48, train_count=count, val_count=1)


def _kill_while_preparing(data_dir):
    line = [sys.executable, '-c', textwrap.dedent(SCRIPT), data_dir]
    done = subprocess.run(line, cwd=commands.ROOT, env=commands.environment(), timeout=120)
    assert done.returncode == -signal.SIGKILL
    (remains,) = (path for path in data_dir.glob('textures/*/incomplete.*_1.0.0'))
    return remains


def test_remains_of_a_killed_preparation_go_at_the_next_start_of_any_variant_once_their_owner_is_gone(tmp_path):
    remains = _kill_while_preparing(tmp_path)
    with files.lock(remains.parent / '.1.0.0.lock'):  # as if its owner lived
        builder.prepare(_make(tmp_path, count=3))
        assert remains.exists()
    builder.prepare(_make(tmp_path, count=3))
    assert not remains.exists()
    assert [entry.killed for entry in prepared.found(tmp_path)] == [False]


def test_what_is_read_is_not_removed_and_is_found_until_then(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, '_read', {})
    name = builder.prepare(_make(tmp_path)).builder_config.name
    (entry,) = prepared.found(tmp_path)
    assert (entry.directory, entry.variant) == (tmp_path / 'textures' / name / '1.0.0', ('textures', name))
    assert entry.size >= sum(path.stat().st_size for path in entry.directory.glob('*.array_record*')) > 1000
    assert not prepared.remove(entry.directory) and entry.directory.exists()
    for lock in prepared._read.values():  # as if this process ended
        lock.close()
    assert prepared.remove(entry.directory)
    assert not entry.directory.exists() and prepared.found(tmp_path) == []
    assert builder.prepare(_make(tmp_path)).info.splits  # and can be prepared again


def test_other_directories_and_links_are_not_ours(tmp_path):
    data_dir, elsewhere = tmp_path / 'data', tmp_path / 'elsewhere'
    info = {'name': 'folder', 'description': f'Folder {prepared.PURPOSE}: x'}
    for place, content in (
        (elsewhere / 'pack-0123456789ab' / '1.0.0', info),
        (data_dir / 'folder' / 'pack-0123456789ab' / '1.0.0', info),
        (data_dir / 'folder' / 'pack' / '1.0.0', info),
        (data_dir / 'folder' / 'pack-0123456789ac' / 'copy', info),
        (data_dir / 'mnist' / 'pack-0123456789ad' / '1.0.0', info),
        (data_dir / 'folder' / 'pack-0123456789ae' / '1.0.0', info | {'description': 'MNIST'}),
        (data_dir / 'folder' / 'pack-0123456789af' / 'incomplete.ABC123_1.0.0', info),  # without a lock file of ours
    ):
        place.mkdir(parents=True)
        (place / 'dataset_info.json').write_text(json.dumps(content))
    (data_dir / 'linked').symlink_to(elsewhere)
    (data_dir / 'folder' / 'linked-0123456789ab').symlink_to(elsewhere / 'pack-0123456789ab')
    (entry,) = prepared.found(data_dir)
    assert entry.directory == data_dir / 'folder' / 'pack-0123456789ab' / '1.0.0'
    (entry.directory / 'link').symlink_to(elsewhere)
    assert prepared.remove(entry.directory) and (elsewhere / 'pack-0123456789ab' / '1.0.0').exists()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / 'lock').symlink_to(tmp_path / 'victim')
    with pytest.raises(OSError, match='symbolic links'):
        files.lock(tmp_path / 'lock')
    assert not (tmp_path / 'victim').exists()


def test_prepared_data_with_a_link_in_it_is_not_read(tmp_path):
    made = builder.prepare(_make(tmp_path))
    records = next(Path(made.data_dir).glob('*array_record*'))
    records.rename(tmp_path / 'elsewhere')
    records.symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(UserError, match=f'{records} is a link, which is not read'):
        builder.prepare(_make(tmp_path))
