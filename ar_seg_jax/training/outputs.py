"""What a run writes beside its checkpoints, on a disk that may be full or read-only for a while."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ar_seg_jax import files
from ar_seg_jax.errors import UserError

_logger = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    write: Callable[[Path, bytes], None]
    content: bytes


class Outputs:
    """Writes files below the `directory` of a run.

    What cannot be written does not end what computes: it is said once for each file, kept, and tried again with everything
    that is written later. To be used in a `with`, at whose end it is tried once more: UserError with the files that still
    lack something, or only a line about them if there was another error.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self._waiting: dict[Path, _Waiting] = {}
        self._told: set[Path] = set()

    def __enter__(self) -> 'Outputs':
        return self

    def __exit__(self, kind: type[BaseException] | None, *_):
        if (lost := self.lost()) and kind is None:
            raise UserError(lost)
        if lost:
            _logger.error('%s', lost)

    def lost(self) -> str:
        """In words, which files lack something after a last try; '' if none does."""
        self._try()
        return f'could not be written, and is lost: {", ".join(map(str, self._waiting))}' if self._waiting else ''

    def write(self, path: Path, content: bytes):
        """In place of what is in the file."""
        self._waiting[path] = _Waiting(files.write, content)
        self._try()

    def append(self, path: Path, content: bytes):
        """After what is in the file."""
        before = self._waiting.get(path, _Waiting(files.append, b''))
        self._waiting[path] = before._replace(content=before.content + content)
        self._try()

    def _try(self):
        for path, (write, content) in list(self._waiting.items()):
            try:
                write(path, content)
            except OSError as error:
                self._tell(path, error)
            else:
                del self._waiting[path]
                if path in self._told:
                    self._told.remove(path)
                    _logger.warning('%s is written again, and complete', path)

    def _tell(self, path: Path, error: OSError):
        if path not in self._told:
            self._told.add(path)
            _logger.error('Could not write %s: %s. What belongs there is kept and tried again later', path, error.strerror)
