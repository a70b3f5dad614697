"""Where the files of configs are, and what they find as `configs`."""

import dataclasses
import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from ar_seg_jax import files
from ar_seg_jax.configuration import unknown
from ar_seg_jax.errors import UserError

_COMMON = 'common'  # what configs start from; it has no length, and cannot be trained as it is


def config_file(given: str) -> Path:
    """The file of a config: a path, or the name of one that comes with the program; UserError for what is neither.

    From now on it can be run: `from configs import common` finds what it should.
    """
    package = Path(__file__).parent
    ours = next((place for place in (package / 'configs', package.parent / 'configs') if place.is_dir()), None)
    known = sorted(path.stem for path in ours.glob('[!_]*.py') if path.stem != _COMMON) if ours else []
    path = files.expanded(given)
    if not path.is_file():
        if given.removesuffix('.py') not in known:
            _refuse_config(given, path.stem, known)
        path = ours / f'{given.removesuffix(".py")}.py'
    if ours:
        _find_configs(ours, first=path.resolve().parent == ours.resolve())
    return path


def _refuse_config(given: str, name: str, known: Sequence[str]):
    if name in known:
        raise UserError(f'--config: no file {given}; did you mean {name!r}, which comes with the program?')
    raise UserError(f'--config: no file {given}; and among those that come with the program {unknown(name, known)}')


def _find_configs(ours: Path, first: bool):
    """Lets Python find `configs` in our directory: before any other place, such as the working directory, or after all others.

    Our own configs mean ours by that name; those of a user mean what is theirs, and ours for what they have not.
    """
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Configs)]
    sys.meta_path.insert(0 if first else len(sys.meta_path), _Configs(ours))


@dataclasses.dataclass(frozen=True)
class _Configs(importlib.abc.MetaPathFinder):
    """Finds the package `configs` and its modules in a directory."""

    directory: Path

    def find_spec(self, fullname, path, target=None):
        package, _, module = fullname.partition('.')
        if package != 'configs' or '.' in module:
            return None
        return PathFinder.find_spec(fullname, [str(self.directory if module else self.directory.parent)])
