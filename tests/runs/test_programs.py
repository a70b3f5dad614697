"""Which directories compiled programs are executed from."""

import os
import time
import zlib

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from ar_seg_jax.errors import UserError
from ar_seg_jax.runs import programs


@pytest.fixture
def kept():
    """Where JAX keeps programs now."""
    names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update('jax_compilation_cache_dir', None)
    yield lambda: jax.config.jax_compilation_cache_dir
    for name, value in before.items():
        jax.config.update(name, value)


def _others_write(directory):
    directory.mkdir(mode=0o700)
    directory.chmod(0o770)


def _link(directory):
    target = directory.with_name('target')
    target.mkdir(mode=0o700)
    directory.symlink_to(target)


def _parent(directory):
    directory.parent.chmod(0o777)
    directory.mkdir(mode=0o700)


@pytest.mark.parametrize(
    ('make', 'reason'),
    [
        (_others_write, r'others may write to .*/open/programs\.'),
        (_link, r'.*/open/programs is a link\.'),
        (_parent, r'others may write to .*/open\.'),
    ],
)
def test_a_directory_that_others_can_fill_is_refused(tmp_path, kept, make, reason):
    directory = tmp_path / 'open' / 'programs'
    directory.parent.mkdir()
    make(directory)
    with pytest.raises(UserError, match=rf'^--config\.compilation_cache=.*: {reason} What lies there is executed'):
        programs.keep(str(directory))
    assert kept() is None
    directory.parent.chmod(0o1777)  # as /tmp has it
    assert (programs.distrust(directory) == '') == (make is _parent)


def test_a_directory_of_another_user_is_not_trusted(tmp_path, monkeypatch):
    assert programs.distrust(tmp_path) == ''
    monkeypatch.setattr(os, 'geteuid', lambda: tmp_path.stat().st_uid + 1)
    if tmp_path.stat().st_uid:
        assert programs.distrust(tmp_path).endswith('belongs to another user')
    else:  # root may do anything anyway
        assert programs.distrust(tmp_path) == ''


def test_programs_are_kept_in_the_user_s_cache_or_nowhere(tmp_path, kept, monkeypatch, caplog):
    programs.keep('none')
    assert kept() is None
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    programs.keep('')
    own = tmp_path / 'cache' / 'ar_seg_jax' / f'jax-{jax.__version__}'
    assert kept() == str(own) and own.stat().st_mode & 0o777 == 0o700
    jax.config.update('jax_compilation_cache_dir', None)
    own.chmod(0o777)
    programs.keep('')
    assert kept() is None and f'Compiled programs are not kept: others may write to {own}' in caplog.text


def test_entries_that_were_cut_off_or_altered_are_removed_and_compiled_again(tmp_path, kept, caplog):
    whole, first = zlib.compress(b'a program'), tmp_path / 'programs'
    altered = bytearray(whole)
    altered[-6] ^= 1
    first.mkdir(mode=0o700)
    contents = {'jit_a-1-cache': whole, 'jit_b-2-cache': whole[:-3], 'jit_c-3-cache': bytes(altered), 'jit_d-4-cache': b''}
    for name, content in contents.items():
        (first / name).write_bytes(content)
    programs.keep(str(first))
    assert sorted(path.name for path in first.glob('*-cache')) == ['jit_a-1-cache']
    assert caplog.text.count('was damaged, and is compiled again') == 3
    (first / 'jit_b-2-cache').write_bytes(whole[:-3])  # by a run that is killed later
    (first / 'jit_a-1-cache').write_bytes(b'')
    os.utime(first / 'jit_a-1-cache', (1, 1))  # before the last look: is not looked at again
    programs.keep(str(first))
    assert sorted(path.name for path in first.glob('*-cache')) == ['jit_a-1-cache']


def test_jax_writes_entries_that_end_with_a_checksum(tmp_path, kept):
    """What `programs` looks at is JAX's own form, of which nothing is promised."""
    jax.config.update('jax_compilation_cache_dir', str(tmp_path))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    compilation_cache.reset_cache()
    jax.jit(lambda x: x * 17 + 5)(1.0)
    compilation_cache.reset_cache()
    entries = list(tmp_path.glob('*-cache'))
    assert entries and all(zlib.decompress(path.read_bytes()) for path in entries)


def test_after_the_clock_was_set_back_all_entries_are_looked_at_again(tmp_path, kept):
    directory = tmp_path / 'programs'
    programs.keep(str(directory))
    ahead = time.time() + 3600
    os.utime(directory / '.seen', (ahead, ahead))
    (directory / 'jit_a-1-cache').write_bytes(zlib.compress(b'a program')[:-3])
    programs.keep(str(directory))
    assert not list(directory.glob('*-cache')) and (directory / '.seen').stat().st_mtime < ahead
