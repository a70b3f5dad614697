"""Weights from files: a start for a model, or for a part of it, from another run or another program."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jax.tree_util import keystr, tree_map_with_path

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import ModelState
from ar_seg_jax.training import checkpoint

_logger = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]  # by path, such as 'params/stem/conv/kernel'


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """Where weights come from and where they go.

    file: a .npz or .safetensors file, or the directory of a run, whose newest checkpoint is taken; '' for no file.
    of: the part of the file that is taken, a path such as 'network'; '' is all of it. into: the part of the parameters and of
    the statistics that it goes to.
    """

    file: str
    of: str
    into: str

    def put(self, state: ModelState) -> ModelState:
        """`state` with what is in the file in place of its own; tells what was loaded, left out, and missing.

        Arrays have the paths of the parameters, with '/' or '.' between the parts; those that begin with the name of another
        collection, such as 'batch_stats', go there. Raises UserError if nothing fits, or if a shape differs.
        """
        if not self.file:
            return state
        path = Path(self.file).expanduser()
        collections = {'params': state.params, **state.extra}
        arrays = read(path)
        taken = {name: array for name, array in arrays.items() if self._is_taken(name, collections)}
        if self.of and not taken:
            raise UserError(
                f'{path}: nothing is below {self.of!r}, only {_some(sorted(arrays))}; see --config.initial_weights.of'
            )
        given = {self._target(name, collections): array for name, array in taken.items()}
        loaded, missing = set(), []

        def choose(place, leaf):
            name = keystr(place, simple=True, separator='/')
            if name not in given:
                if self._belongs(name):
                    missing.append(name)
                return leaf
            if given[name].shape != leaf.shape:
                raise UserError(f'{path}: {name} has the shape {given[name].shape}, the model wants {leaf.shape}')
            loaded.add(name)
            return jax.device_put(given[name].astype(leaf.dtype), leaf.sharding)

        collections = tree_map_with_path(choose, collections)
        left_out = sorted(given.keys() - loaded)
        if not loaded:
            raise UserError(
                f'{path}: none of its {len(given)} arrays fits the model ({_some(left_out)}; the model has {_some(missing)}); '
                'see --config.initial_weights.of and .into'
            )
        _logger.info('Weights from %s: %d arrays loaded', path, len(loaded))
        if left_out:
            _logger.info('  left out, since the model has no such array: %s', _some(left_out))
        if missing:
            _logger.info('  not in the file, so as they are drawn: %s', _some(missing))
        params = collections.pop('params')
        return state.replace(params=params, extra=collections)

    def _is_taken(self, name: str, collections: Mapping) -> bool:
        _, rest = _split(name, collections)
        return not self.of or rest == self.of or rest.startswith(f'{self.of}/')

    def _target(self, name: str, collections: Mapping) -> str:
        collection, rest = _split(name, collections)
        rest = rest[len(self.of) :].lstrip('/') if self.of else rest
        return '/'.join(part for part in (collection, self.into, rest) if part)

    def _belongs(self, name: str) -> bool:
        _, _, rest = name.partition('/')
        return not self.into or rest == self.into or rest.startswith(f'{self.into}/')


def read(path: Path) -> Arrays:
    """The arrays of a file, or of the newest checkpoint of a run; UserError for what is neither."""
    try:
        if path.is_dir():
            return checkpoint.read_arrays(path / 'checkpoints')
        match path.suffix:
            case '.npz':
                with np.load(path, allow_pickle=False) as content:
                    return {name.replace('.', '/'): content[name] for name in content.files}
            case '.safetensors':
                from safetensors.numpy import load_file

                return {name.replace('.', '/'): array for name, array in load_file(path).items()}
    except (FileNotFoundError, UserError):
        raise
    except Exception as error:  # whatever these parsers do not foresee in a damaged file
        raise UserError(f'{path}: cannot be read ({type(error).__name__}: {error}); fetch it again') from error
    raise UserError(f'{path}: weights come from a .npz or .safetensors file, or from the directory of a run')


def _split(name: str, collections: Mapping) -> tuple[str, str]:
    """Collection and path of an array; 'params' where the name says nothing."""
    first, _, rest = name.partition('/')
    return (first, rest) if first in collections else ('params', name)


def _some(names: list[str]) -> str:
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '') if names else 'nothing'
