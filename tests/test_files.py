"""Files of our own."""

import os

import pytest

from ar_seg_jax import files
from ar_seg_jax.errors import UserError


@pytest.mark.parametrize(('mask', 'mode'), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_who_may_read_a_file_is_what_umask_says(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        files.write(tmp_path / 'deeper' / 'a', b'1')
    finally:
        os.umask(before)
    (path,) = (tmp_path / 'deeper').iterdir()
    assert path.stat().st_mode & 0o777 == mode and path.read_bytes() == b'1'


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / 'link').symlink_to(tmp_path / 'victim')
    files.write(tmp_path / 'link', b'1')
    assert not (tmp_path / 'victim').exists() and not (tmp_path / 'link').is_symlink()


def test_what_is_added_to_or_read_is_a_regular_file_and_no_link(tmp_path):
    (tmp_path / 'victim').write_bytes(b'kept')
    (tmp_path / 'link').symlink_to(tmp_path / 'victim')
    os.mkfifo(tmp_path / 'pipe')  # which would be waited for
    for name in ('link', 'pipe'):
        for attempt in (lambda path: files.append(path, b'more'), files.read):
            with pytest.raises(OSError) as caught:
                attempt(tmp_path / name)
            assert caught.value.filename == str(tmp_path / name)
            assert caught.value.strerror.startswith(f'expected a regular file, found a {name}')
    assert files.read(tmp_path / 'victim') == b'kept'
    files.append(tmp_path / 'victim', b'more')
    assert files.read(tmp_path / 'victim') == b'keptmore'


@pytest.mark.parametrize('kind', ['is a link', 'is no regular file'])
def test_a_directory_with_a_link_or_a_pipe_is_refused(tmp_path, kind):
    (tmp_path / 'data' / 'deeper').mkdir(parents=True)
    (tmp_path / 'data' / 'deeper' / 'plain').write_bytes(b'1')
    files.require_plain(tmp_path / 'data')
    odd = tmp_path / 'data' / 'deeper' / 'odd'
    odd.symlink_to(tmp_path) if kind == 'is a link' else os.mkfifo(odd)
    with pytest.raises(UserError, match=rf'data/deeper/odd {kind}, which is not read'):
        files.require_plain(tmp_path / 'data')
