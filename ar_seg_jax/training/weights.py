"""Weights from files: a start for a model, or for a part of it, from another run or another program."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path, tree_map_with_path

from ar_seg_jax import files
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import ModelState
from ar_seg_jax.training import checkpoint, peers
from ar_seg_jax.training.published import mit, resnet18, vit
from ar_seg_jax.training.published.layout import Layout, Translated, translate

_logger = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]  # by path, such as 'params/stem/conv/kernel'

LayoutName = Literal['own', 'mit', 'torchvision_resnet18', 'vit']
_LAYOUTS: Mapping[str, Layout] = {'mit': mit.LAYOUT, 'torchvision_resnet18': resnet18.LAYOUT, 'vit': vit.LAYOUT}

_TAKEN = ('params', 'batch_stats')  # what else a state has, such as centroids, follows from its own training


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """Where weights come from and where they go.

    file: a .npz or .safetensors file, or the directory of a run, whose newest checkpoint is taken; '' for no file.
    of: the part of the file that is taken, a path such as 'network'; '' is all of it. into: the part of the parameters and of
    the statistics that it goes to. without: groups of parameters that it does not go to, nor to their statistics. layout: how
    arrays are called below `of`: 'own', as here, or as another program does. Then `into` is the encoder that the layout is of,
    such as 'resnet' or 'encoder', and the file must have all of it, and nothing else.
    """

    file: str
    of: str
    into: str
    without: Sequence[str]
    layout: LayoutName

    def check(self):
        """UserError if the file is not there, or none that can be read; its content is not looked at."""
        if self.file:
            _check_source(files.expanded(self.file))
        elif self.layout != 'own':
            raise UserError(
                f'--config.initial_weights.layout is {self.layout!r}, but --config.initial_weights.file names no file to begin '
                'with; name one, or begin with random weights by --config.initial_weights.layout=own'
            )

    def put(self, state: ModelState) -> ModelState:
        """`state` with what is in the file in place of its own; tells what was loaded, left out, and missing.

        Arrays have the paths of the parameters, with '/' or '.' between the parts; those that begin with 'batch_stats' are
        statistics. Raises UserError, on every process, if the file cannot be read, if nothing fits, or if a shape differs; in the
        layout of another program also if something is missing, or is not of it.
        """
        if not self.file:
            return state
        path = files.expanded(self.file)
        own = {name: tree for name, tree in {'params': state.params, **state.extra}.items() if name in _TAKEN}
        leaves = {_name(place): leaf for place, leaf in tree_leaves_with_path(own)}
        given, unknown, ignored = self._given(path, {*_TAKEN, *state.extra})
        spared = self._spared(leaves)
        wanted = {name for name in leaves if _is_below(_rest(name), self.into)} - spared
        if self.layout != 'own':
            self._check_complete(path, given, unknown, {name: leaves[name].shape for name in wanted}, spared)
        fitting = given.keys() & wanted
        if not fitting:
            raise UserError(
                f'{path}: none of its {len(given)} arrays fits the model ({_some(given)}; the model has {_some(wanted)}); see '
                '--config.initial_weights.of, .into and .layout'
            )
        _check_shapes(path, {name: given[name] for name in fitting}, leaves)

        def replaced(place, leaf):
            name = _name(place)
            return jax.device_put(given[name].astype(leaf.dtype), leaf.sharding) if name in fitting else leaf

        own = tree_map_with_path(replaced, own)
        _logger.info('Weights from %s: %d arrays loaded', path, len(fitting))
        _tell('left out, as --config.initial_weights.without says', given.keys() & spared)
        _tell('left out, since encoders of this layout have no use for them', ignored)
        _tell('left out, since the model has no such parameters or statistics', given.keys() - leaves.keys())
        _tell('not in the file, so as they are drawn', wanted - fitting)
        return state.replace(params=own.pop('params'), extra={**state.extra, **own})

    def _given(self, path: Path, collections: Iterable[str]) -> Translated:
        """What is below `of`, its arrays by where they go; UserError if there is nothing."""
        arrays = _read_by_all(path)
        parts = {name: _split(name, collections if self.layout == 'own' else ()) for name in arrays}
        taken = {name: (collection, rest) for name, (collection, rest) in parts.items() if _is_below(rest, self.of)}
        if self.of and not taken:
            raise UserError(f'{path}: nothing is below {self.of!r}, only {_some(arrays)}; see --config.initial_weights.of')
        inside = {name: (collection, rest[len(self.of) :].lstrip('/')) for name, (collection, rest) in taken.items()}
        if self.layout == 'own':
            found = Translated({_join(*place): arrays[name] for name, place in inside.items()}, [], [])
        else:
            found = translate({rest: arrays[name] for name, (_, rest) in inside.items()}, _LAYOUTS[self.layout])
        placed = {_split(place, collections): array for place, array in found.arrays.items()}
        return found._replace(arrays={_join(part, self.into, rest): array for (part, rest), array in placed.items()})

    def _check_complete(
        self, path: Path, given: Arrays, unknown: Iterable[str], wanted: Mapping[str, tuple[int, ...]], spared: Iterable[str]
    ):
        """UserError, with all that is wrong, unless the arrays are those that are wanted, by their shapes."""
        found = {name: array.shape for name, array in given.items() if name not in spared}
        other = {name for name in found.keys() & wanted.keys() if found[name] != wanted[name]}
        wrong = {
            'lacks': wanted.keys() - found.keys(),
            'has besides': {*unknown, *(found.keys() - wanted.keys())},
            'has in another shape': {f'{name} {found[name]} instead of {wanted[name]}' for name in other},
        }
        if any(wrong.values()):
            raise UserError(
                f'{path}: not the weights of this model in the layout {self.layout!r}: '
                + '; '.join(f'it {what} {_some(names)}' for what, names in wrong.items() if names)
                + '. See --config.initial_weights.of, .into and .without, and the options of config.model'
            )

    def _spared(self, leaves: Iterable[str]) -> set[str]:
        """The arrays of the model in groups of `without`; UserError for a group without any."""
        groups = {group: {name for name in leaves if _is_below(_rest(name), group)} for group in self.without}
        if empty := [group for group, names in groups.items() if not names]:
            on_top = sorted({_rest(name).partition('/')[0] for name in leaves})
            raise UserError(
                f'--config.initial_weights.without: no parameters are called {", ".join(empty)}; on top there are '
                f'{", ".join(on_top)}'
            )
        return set().union(*groups.values())


def read(path: Path) -> Arrays:
    """The arrays of a file, or of the newest checkpoint of a run; UserError for what is neither."""
    _check_source(path)
    try:
        if path.is_dir():
            return checkpoint.read_arrays(path / 'checkpoints')
        return {name.replace('.', '/'): array for name, array in _READERS[path.suffix](path).items()}
    except UserError:
        raise
    except Exception as error:  # whatever these parsers do not foresee in a damaged file
        raise UserError(f'{path}: cannot be read ({type(error).__name__}: {error}); fetch it again') from error


def _npz(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def _safetensors(path: Path) -> Arrays:
    from safetensors.numpy import load_file

    return load_file(path)


_READERS: Mapping[str, Callable[[Path], Arrays]] = {'.npz': _npz, '.safetensors': _safetensors}


def _check_source(path: Path):
    if not path.exists():
        raise UserError(f'{path}: no such file or directory; see --config.initial_weights.file')
    if not ((path / 'checkpoints').is_dir() or (path.is_file() and path.suffix in _READERS)):
        raise UserError(f'{path}: weights come from a .npz or .safetensors file, or from the directory of a run')


def _read_by_all(path: Path) -> Arrays:
    """`read`, or UserError on every process: none waits for one that could not read."""
    arrays, reason = {}, None
    try:
        arrays = read(path)
    except UserError as error:
        reason = error
    if not peers.all_agree(reason is None):
        raise reason or UserError(f'{path}: another process cannot read it')
    return arrays


def _tell(what: str, names: Iterable[str]):
    if names:
        _logger.info('  %s: %s', what, _some(names))


def _check_shapes(path: Path, arrays: Arrays, leaves: Mapping[str, jax.Array]):
    for name, array in sorted(arrays.items()):
        if array.shape != leaves[name].shape:
            raise UserError(
                f'{path}: {name} has the shape {array.shape}, the model wants {leaves[name].shape}; '
                '--config.initial_weights.without leaves groups of parameters out'
            )


def _split(name: str, collections: Iterable[str]) -> tuple[str, str]:
    """Collection and path of an array; 'params' where the name says nothing."""
    first, _, rest = name.partition('/')
    return (first, rest) if first in collections else ('params', name)


def _join(*parts: str) -> str:
    return '/'.join(part for part in parts if part)


def _name(place) -> str:
    return keystr(place, simple=True, separator='/')


def _rest(name: str) -> str:
    """The path of an array in its collection."""
    return name.partition('/')[2]


def _is_below(path: str, group: str) -> bool:
    """Whether a path is that of a group, or of a part of it; all are below ''."""
    return not group or path == group or path.startswith(f'{group}/')


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '') if names else 'nothing'
