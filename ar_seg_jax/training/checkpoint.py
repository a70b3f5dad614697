"""Checkpoints of the whole state (Orbax), with checksums that are compared before a state is used."""

import contextlib
import logging
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.tree_util import keystr, tree_leaves_with_path

from ar_seg_jax.training import peers
from ar_seg_jax.training.state import TrainState

_logger = logging.getLogger(__name__)

_NOT_SAVED = (ValueError, OSError)  # what a full disk is for TensorStore, and for Orbax


class Checkpoints:
    """The checkpoints below `directory`: the newest `keep` of them, and for ever those of every `keep_every` steps.

    Saving is asynchronous and atomic. The place in the data needs no file of its own: it follows from the step.
    """

    def __init__(self, directory: Path, keep: int = 2, keep_every: int = 0, writable: bool = False):
        if keep < 1:
            raise ValueError(f'--config.keep_checkpoints is at least 1, found {keep}')
        self.directory = directory.resolve()
        self._writable = writable
        self._unsettled: int | None = None  # step of a save whose end nobody has seen
        self._failed: int | None = None  # step of the last save, if it failed
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            keep_period=keep_every or None,
            create=writable,
            read_only=not writable,
            cleanup_tmp_directories=writable,
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    @property
    def latest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState):
        """Starts to save at the step of `state`, once. What goes wrong is reported, now or by `settle`."""
        self.settle()
        step = int(state.step)
        if step == self.latest:
            return
        self._unsettled = step
        try:
            self._manager.save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), checksums=ocp.args.JsonSave(_checksums(state)))
            )
        except _NOT_SAVED as error:
            self._report(error)

    def settle(self, wait: bool = True) -> bool:
        """Whether nothing is left to save: waits for a save under way, or only looks. Reports a save that failed."""
        if self._unsettled is None:
            return True
        if not wait and self._manager.is_saving_in_progress():
            return False
        try:
            self._manager.wait_until_finished()
        except _NOT_SAVED as error:
            self._report(error)
            return False
        self._unsettled, self._failed = None, None
        return True

    @contextlib.contextmanager
    def completed(self) -> Iterator[None]:
        """Around training: when its numbers end it, a save under way is completed first. (Not so when a peer is lost.)"""
        try:
            yield
        except FloatingPointError:
            self.settle()
            raise

    def close(self):
        """Waits for a save under way; OSError if the last one failed."""
        self.settle()
        if self._failed is not None:
            raise OSError(f'the last state, of step {self._failed}, could not be saved; {self._newest()}')
        self._manager.close()

    def restore(self, like: TrainState, step: int | None = None) -> TrainState:
        """The state of a step, in the shapes and on the devices of `like`; by default the newest one that is whole.

        Damaged checkpoints are reported, and where this may write moved to `damaged/` beside the directory. Raises
        ValueError with the steps there are if `step` is not one of them, and if all are damaged (nothing is moved then);
        FileNotFoundError if there is no checkpoint.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            raise FileNotFoundError(f'{self.directory}: no checkpoint; train first with python -m ar_seg_jax.main')
        if step is not None and step not in steps:
            raise ValueError(f'{self.directory}: no checkpoint of step {step}; the steps are {_listed(steps[::-1])}')
        damaged = []
        for candidate in steps if step is None else [step]:
            state, reason = self._try(candidate, like)
            if peers.all_agree(state is not None):
                self._set_aside(damaged)
                return state
            _logger.warning('%s is damaged: %s', self.directory / str(candidate), reason or 'so another process finds')
            damaged.append(candidate)
        raise ValueError(
            f'{self.directory}: no checkpoint of step {_listed(damaged[::-1])} can be used, see above; nothing was deleted. '
            'Restore them from a copy, or begin again in another --workdir'
        )

    def _try(self, step: int, like: TrainState) -> tuple[TrainState | None, str]:
        """The state of a step, or None and what is wrong with it."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), checksums=ocp.args.JsonRestore())
        try:
            restored = self._manager.restore(step, args=args)
        except Exception as error:  # of every type: for data that cannot be read Orbax raises a plain Exception
            return None, _reason(error)
        state, expected = restored['state'], restored['checksums']
        if not isinstance(expected, dict):
            return None, 'its checksums are not those of arrays'
        for (path, leaf), (_, wanted) in zip(tree_leaves_with_path(state), tree_leaves_with_path(like), strict=True):
            # Orbax lets wrong shapes and types through in some of its modes.
            if not isinstance(leaf, jax.Array) or (leaf.shape, leaf.dtype) != (wanted.shape, wanted.dtype):
                return None, f'{keystr(path)} is not an array of shape {wanted.shape} and type {wanted.dtype}'
        altered = [name for name, checksum in _checksums(state).items() if checksum != expected.get(name)]
        return (None, f'the content of {altered[0]} is not what was saved') if altered else (state, '')

    def _set_aside(self, steps: list[int]):
        if not self._writable or not steps:
            return
        if jax.process_index() == 0:
            for step in steps:
                shutil.move(self.directory / str(step), _unused(self.directory.parent / 'damaged' / str(step)))
        peers.wait('damaged checkpoints are set aside')
        self._manager.reload()

    def _report(self, error: Exception):
        step, self._unsettled, self._failed = self._unsettled, None, self._unsettled
        _logger.error('Could not save step %d: %s. %s', step, _reason(error), self._newest())
        if jax.process_index() == 0:
            for remains in self.directory.glob(f'{step}.orbax-checkpoint-tmp*'):
                shutil.rmtree(remains, ignore_errors=True)  # they take room on what may be a full disk

    def _newest(self) -> str:
        return f'the newest checkpoint is that of step {self.latest}' if self.latest is not None else 'there is no checkpoint yet'


def _checksums(state: TrainState) -> dict[str, int]:
    """CRC-32 of the bytes of each leaf."""

    def checksum(leaf: jax.Array) -> int:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return zlib.crc32(np.ascontiguousarray(leaf.addressable_data(0)))

    return {keystr(path): checksum(leaf) for path, leaf in tree_leaves_with_path(state)}


def _reason(error: Exception) -> str:
    """The message without TensorStore's description of all that it had open."""
    error = error.__cause__ or error
    message = f'{type(error).__name__}: {error}'
    return message.partition('\n')[0].partition(' [tensorstore_spec')[0]


def _unused(path: Path) -> Path:
    """`path`, or the first of path.1, path.2, ... that does not exist; its directory is made."""
    path.parent.mkdir(exist_ok=True)
    candidates = (path if not index else path.with_name(f'{path.name}.{index}') for index in range(1_000_000))
    return next(candidate for candidate in candidates if not candidate.exists())


def _listed(steps: list[int]) -> str:
    return ', '.join(map(str, steps))
