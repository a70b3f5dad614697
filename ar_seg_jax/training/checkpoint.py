"""Checkpoints (Orbax): the model and what only training needs as items of their own, with checksums that are compared before
they are used.

    checkpoints/<step>/model      step, params, extra: all that evaluation and prediction read
    checkpoints/<step>/training   the rest of the state
    checkpoints/<step>/checksums  of each array of both
    checkpoints/<step>/versions   of the packages that wrote it
"""

import contextlib
import functools
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import absl.logging
import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.tree_util import tree_leaves_with_path

from ar_seg_jax import files
from ar_seg_jax.errors import Diverged, Stalled, UserError
from ar_seg_jax.interfaces import ModelState
from ar_seg_jax.training import arrays, peers, versions
from ar_seg_jax.training.arrays import Items
from ar_seg_jax.training.saving import Save
from ar_seg_jax.training.state import TrainState

_logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints below `directory`: the newest `keep` of them, and for ever those of every `keep_every` steps.

    Saves are atomic, and happen in a thread of process 0 alone, since every process has the whole state: Orbax's own asynchronous
    saves let all processes wait for each other, and for minutes where one fails. Training waits for a save for `patience` seconds
    at most. The place in the data needs no file of its own: it follows from the step.
    """

    def __init__(self, directory: Path, keep: int = 2, keep_every: int = 0, writable: bool = False, patience: float = 120.0):
        if keep < 1:
            raise UserError(f'--config.keep_checkpoints is at least 1, found {keep}')
        if patience <= 0:
            raise UserError(f'--config.save_seconds is more than 0, found {patience}')
        self.directory = directory.resolve()
        self._writable, self._patience = writable, patience
        self._save: Save | None = None  # the last one, if nobody has seen its end
        self._failed: int | None = None  # step of the last state that was to be saved, if it was not
        own = jax.process_index()
        writes = writable and own == 0
        if writes:
            self.directory.mkdir(parents=True, exist_ok=True)
        with _silence():
            options = ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                keep_period=keep_every or None,
                create=False,
                read_only=not writes,
                enable_async_checkpointing=False,
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=own, active_processes={own}, barrier_sync_key_prefix=f'process_{own}'
                ),
            )
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        self.latest: int | None = self._manager.latest_step()  # the step of the newest checkpoint

    def save(self, state: TrainState):
        """Starts to save at the step of `state`, once. What goes wrong is reported, now or by `settle`.

        While an earlier save is not done, for longer than training waits, nothing is saved.
        """
        if jax.process_index():
            return
        step = int(state.step)
        if not self.settle(wait=not self._late):
            self._failed = step
            _logger.error('Step %d is not saved, since the save of step %d is not done yet', step, self._save.step)
        elif step != self.latest:
            self._save = Save(step, functools.partial(self._write, step, arrays.on_host(_items(state))))

    def settle(self, wait: bool = True) -> bool:
        """Whether no save is under way: waits for one, as long as training may, or only looks. Reports what is late or failed."""
        save = self._save
        if save is None:
            return True
        if not save.ended(self._patience if wait else 0.0):
            if wait and not save.late:
                save.late = True
                _logger.error('The save of step %d is not done after %g s; training goes on without', save.step, self._patience)
            return False
        self._save = None
        if save.error is None:
            self.latest = save.step
            self._failed = None if self._failed is None or self._failed <= save.step else self._failed
        else:
            self._failed = save.step
            _logger.error('Could not save step %d: %s; %s', save.step, _reason(save.error), self._newest())
        return True

    @property
    def _late(self) -> bool:
        """Whether training has waited in vain for the save under way."""
        return self._save is not None and self._save.late

    @contextlib.contextmanager
    def completed(self, state: Callable[[], TrainState | None]) -> Iterator[None]:
        """Around training: when its numbers end it, a save under way is completed first, and when process 0 gets no images the
        `state` of then, if there is one that can be predicted with. (Neither is done when a peer is lost.)"""
        try:
            yield
        except Diverged:
            self.settle()
            raise
        except Stalled:
            if (last := state()) is not None:
                self.save(last)
            self.settle()
            raise

    def close(self):
        """Waits for a save under way; UserError on all processes if the last state could not be saved, or is not by then."""
        if not self.settle(wait=not self._late) and self._failed is None:
            self._failed = self._save.step
        if not peers.all_agree(self._failed is None):
            step = 'as process 0 says' if self._failed is None else f'of step {self._failed}'
            newest = '' if jax.process_index() else f'; {self._newest()}'  # only process 0 knows
            raise UserError(f'the last state, {step}, could not be saved{newest}')
        self._manager.close()

    def restore(self, like: TrainState, step: int | None = None) -> TrainState:
        """The state of a step, in the shapes and on the devices of `like`; by default the newest one that is whole.

        Damaged checkpoints are reported, and where this may write moved to `damaged/` beside the directory. Raises UserError
        with the steps there are if `step` is not one of them, if all are damaged or one may not be read (nothing is moved then),
        and if there is no checkpoint.
        """
        found = self._restore(_items(like), step)
        return TrainState(**found['model'], **found['training'])

    def restore_model(self, like: ModelState, step: int | None = None) -> ModelState:
        """The same of what evaluation and prediction need; nothing else is read."""
        return ModelState(**self._restore({'model': vars(like)}, step)['model'])

    def _restore(self, like: Items, step: int | None) -> Items:
        self.settle()
        steps, damaged = self._steps(step), []
        while candidates := [each for each in steps if each not in damaged]:
            with contextlib.suppress(FileNotFoundError, PermissionError):  # which is told below
                files.require_plain(self.directory / str(candidates[0]))
            found, reason = self._try(candidates[0], like)
            if peers.all_agree(found is not None):
                self._set_aside(damaged)
                return found
            if self._moved_on(steps):
                steps, damaged = self._steps(step), []
                continue
            self._check_readable(candidates[0])
            _logger.warning('%s is damaged: %s', self.directory / str(candidates[0]), reason or 'so another process finds')
            damaged.append(candidates[0])
        raise UserError(
            f'{self.directory}: no checkpoint of step {_listed(damaged[::-1])} can be used, see above; nothing was deleted. '
            'Restore them from a copy, or begin again in another --workdir'
        )

    def _steps(self, step: int | None) -> list[int]:
        """The steps that can be restored, the newest first, or only `step`; UserError if there is none."""
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            raise UserError(f'{self.directory}: no checkpoint; train first with python -m ar_seg_jax.main')
        if step is not None and step not in steps:
            raise UserError(f'{self.directory}: no checkpoint of step {step}; the steps are {_listed(steps[::-1])}')
        return steps if step is None else [step]

    def _moved_on(self, steps: list[int]) -> bool:
        """Whether a training beside this reader has saved, and perhaps removed, checkpoints since `steps` were looked up.

        What could not be read may have been removed meanwhile. Several processes might see different steps, and do not look.
        """
        if self._writable or jax.process_count() > 1:
            return False
        before = set(self._manager.all_steps())
        self._manager.reload()
        now = set(self._manager.all_steps())
        return bool(now - before) or not set(steps) <= now

    def _check_readable(self, step: int):
        """UserError for a checkpoint with files that this process may not read: they need not be damaged."""
        directory = self.directory / str(step)
        for path in (directory, *sorted(directory.rglob('*'))):
            if path.exists() and not os.access(path, os.R_OK):
                raise UserError(f'{path}: no permission to read it, and nothing was moved; change it, or start as its owner')

    def _try(self, step: int, like: Items) -> tuple[Items | None, str]:
        """The items of a step, or None and what is wrong with it."""
        abstract = jax.tree.map(arrays.abstract, like)
        items = {name: ocp.args.StandardRestore(item) for name, item in abstract.items()}
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**items, checksums=ocp.args.JsonRestore()))
        except Exception as error:  # of every type: for data that cannot be read Orbax raises a plain Exception
            return None, _reason(error) + self._other_versions(step)
        expected = restored['checksums']
        if not (isinstance(expected, dict) and all(isinstance(expected.get(name), dict) for name in like)):
            return None, 'its checksums are not those of arrays'
        found = {name: jax.tree.map(arrays.as_key, restored[name], item) for name, item in like.items()}
        for (path, leaf), (_, wanted) in zip(tree_leaves_with_path(found), tree_leaves_with_path(like), strict=True):
            # Orbax lets wrong shapes and types through in some of its modes.
            if not isinstance(leaf, jax.Array) or (leaf.shape, leaf.dtype) != (wanted.shape, wanted.dtype):
                return None, f'{arrays.name(path)} is not an array of shape {wanted.shape} and type {wanted.dtype}'
        for name, item in found.items():
            for array, checksum in arrays.checksums(item).items():
                if checksum != expected[name].get(array):
                    return None, self._difference(step, name, array, item)
        if (own := int(found['model']['step'])) != step:
            return None, f'it holds the state of step {own}, as a copy under another name would'
        return found, ''

    def _difference(self, step: int, name: str, array: str, item: Any) -> str:
        """In words, why an array of an item is not what was saved: it has another type, or was changed."""
        type_of = {arrays.name(path): str(arrays.numbers(leaf).dtype) for path, leaf in tree_leaves_with_path(item)}
        with contextlib.suppress(Exception), _silence():  # it may be damaged, and this only explains
            saved = self._manager.item_metadata(step)[name].tree
            saved_type_of = {arrays.name(path): str(leaf.dtype) for path, leaf in tree_leaves_with_path(saved)}
            if saved_type_of[array] != type_of[array]:
                return f'{name}/{array} was saved as {saved_type_of[array]}, and should be {type_of[array]} here'
        return f'the content of {name}/{array} is not what was saved'

    def _other_versions(self, step: int) -> str:
        """In words, with which other versions of the packages a step was written; '' if they are those of today, or not known."""
        try:
            written = self._manager.restore(step, args=ocp.args.Composite(versions=ocp.args.JsonRestore()))['versions']
        except Exception:  # it is damaged, and this only explains
            return ''
        found = versions.differing(written)
        return f' (written with {found})' if found else ''

    def _set_aside(self, steps: list[int]):
        if not self._writable or not steps:
            return
        if jax.process_index() == 0:
            for step in steps:
                shutil.move(self.directory / str(step), _unused(self.directory.parent / 'damaged' / str(step)))
        peers.wait('damaged checkpoints are set aside')
        self._manager.reload()
        self.latest = self._manager.latest_step()

    def _write(self, step: int, items: Items):
        """Writes a checkpoint; if that fails its remains are removed, which take room on what may be a full disk."""
        self._remove_remains()
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    **{name: ocp.args.StandardSave(item) for name, item in items.items()},
                    checksums=ocp.args.JsonSave({name: arrays.checksums(item) for name, item in items.items()}),
                    versions=ocp.args.JsonSave(versions.installed()),
                ),
            )
        except Exception:
            self._remove_remains()
            raise

    def _remove_remains(self):
        """When one of the items of a save fails, others may still be written, and come back: so this looks again, for some
        seconds, and once more before the next save."""
        for _ in range(50):
            remains = list(self.directory.glob('*.orbax-checkpoint-tmp*'))
            if not remains:
                return
            for path in remains:
                shutil.rmtree(path, ignore_errors=True)
            time.sleep(0.1)

    def _newest(self) -> str:
        return f'the newest checkpoint is that of step {self.latest}' if self.latest is not None else 'there is no checkpoint yet'


def read_arrays(directory: Path) -> dict[str, np.ndarray]:
    """The parameters and all else that the newest model below `directory` has, by path: 'params/stem/conv/kernel'.

    UserError if there is none, or if its content is not what was saved.
    """
    handlers = {'model': ocp.StandardCheckpointHandler(), 'checksums': ocp.JsonCheckpointHandler()}
    with _silence():
        options = ocp.CheckpointManagerOptions(read_only=True)
        with ocp.CheckpointManager(directory.resolve(), options=options, item_handlers=handlers) as manager:
            step = manager.latest_step()
            if step is None:
                raise UserError(f'{directory}: no checkpoint; weights come from a run that has one')
            files.require_plain(directory / str(step))
            # For NumPy, since the devices that the run had may not be here.
            like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), manager.item_metadata(step)['model'].tree)
            args = ocp.args.Composite(model=ocp.args.StandardRestore(like), checksums=ocp.args.JsonRestore())
            found = manager.restore(step, args=args)
    model, expected = found['model'], found['checksums']['model']
    for array, checksum in arrays.checksums(model).items():
        if checksum != expected.get(array):
            raise UserError(f'{directory / str(step)} is damaged: the content of model/{array} is not what was saved')
    return arrays.by_name({'params': model['params'], **model['extra']})


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Orbax tells every step of its own."""
    before = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.FATAL)
    try:
        yield
    finally:
        absl.logging.set_verbosity(before)


def _items(state: TrainState) -> Items:
    model = vars(state.model)
    return {'model': model, 'training': {name: value for name, value in vars(state).items() if name not in model}}


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
