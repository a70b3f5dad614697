"""Files of our own."""

import os

import pytest

from ar_seg_jax import files


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
