"""Where compiled programs are kept: native code, which is executed as it is found there."""

import contextlib
import logging
import os
import stat
import time
import zlib
from pathlib import Path

import jax

from ar_seg_jax import files
from ar_seg_jax.errors import UserError

_SEEN = '.seen'  # is as old as the last look at the entries
_ZLIB = b'\x78'  # what its streams begin with

_logger = logging.getLogger(__name__)


def keep(place: str):
    """Has JAX keep compiled programs in a directory for runs that begin or go on later: '' for one of this user's own, below the
    user's cache, 'none' for nowhere.

    Only a directory that nobody else could write to is used. UserError for another `place`; without one programs are compiled
    anew where the own directory is not trusted or cannot be made.
    """
    if place == 'none':
        return
    directory = files.expanded(place or own()).absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = distrust(directory)
    except OSError as error:
        reason = f'{error.filename or directory}: {error.strerror}'
    if reason and place:
        raise UserError(
            f'--config.compilation_cache={place}: {reason}. What lies there is executed, so name a directory of your own, or none'
        )
    if reason:
        _logger.warning('Compiled programs are not kept: %s', reason)
        return
    _remove_damaged(directory)
    jax.config.update('jax_compilation_cache_dir', str(directory))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)


def _remove_damaged(directory: Path):
    """Removes what was cut off or altered since the last look, as by a kill or a full disk: JAX would compile it anew, complain,
    and leave it there.

    JAX's entries are streams of zlib, which end with a checksum (Adler-32) of all of it; where it has zstd it uses that, and then
    only what zstd itself notices is found.
    """
    seen = directory / _SEEN
    begun = time.time()
    last = seen.stat().st_mtime if seen.is_file() else 0.0
    last = last if last <= begun else 0.0  # or the clock was set back since
    for path in directory.glob('*-cache'):
        with contextlib.suppress(OSError):  # another process may have removed it
            if path.lstat().st_mtime >= last and not _is_whole(files.read(path)):
                path.unlink()
                _logger.warning('%s was damaged, and is compiled again', path)
    with contextlib.suppress(OSError):  # then the next start looks at all of them again
        files.write(seen, b'')
        os.utime(seen, (begun, begun))


def _is_whole(content: bytes) -> bool:
    if content[:1] != _ZLIB:
        return bool(content)
    try:
        zlib.decompress(content)
    except zlib.error:
        return False
    return True


def distrust(directory: Path) -> str:
    """How somebody else than this user or root could put programs into a directory; '' if nobody can."""
    if directory.is_symlink():
        return f'{directory} is a link'
    for path in (directory, *directory.resolve().parents):
        found = path.stat()
        if found.st_uid not in (0, os.geteuid()):
            return f'{path} belongs to another user'
        # Where the sticky bit is set, as in /tmp, others cannot replace what is not theirs.
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and (path == directory or not found.st_mode & stat.S_ISVTX):
            return f'others may write to {path}'
    return ''


def own() -> Path:
    """The directory in this user's cache, which need not be there yet."""
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache') / 'ar_seg_jax' / f'jax-{jax.__version__}'
