"""Which directories compiled programs are executed from."""

import os

import jax
import pytest

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
