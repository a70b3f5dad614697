"""Checkpoints of the whole state and of the place in the data (Orbax)."""

from pathlib import Path

import grain
import jax
import orbax.checkpoint as ocp

from ar_seg_jax.training.state import TrainState


class Checkpoints:
    """The checkpoints below `directory`, the newest `keep` of them; saving is asynchronous and atomic."""

    def __init__(self, directory: Path, keep: int = 2):
        self.directory = directory.resolve()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    @property
    def latest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState, batches: grain.DatasetIterator):
        """Saves at the step of `state`, once."""
        step = int(state.step)
        if step == self.latest:
            return
        self._manager.save(
            step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), data=grain.checkpoint.CheckpointSave(batches))
        )

    def restore(self, like: TrainState, step: int | None = None, batches: grain.DatasetIterator | None = None) -> TrainState:
        """The state of a step (the newest by default), in the shapes and on the devices of `like`.

        Moves `batches`, if given, to the place where it was. Raises ValueError with the steps there are if `step` is not
        one of them, FileNotFoundError if there is no checkpoint.
        """
        steps = sorted(self._manager.all_steps())
        if not steps:
            raise FileNotFoundError(f'{self.directory}: no checkpoint; train first with python -m ar_seg_jax.main')
        if step is not None and step not in steps:
            raise ValueError(f'{self.directory}: no checkpoint of step {step}; the steps are {", ".join(map(str, steps))}')
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = {'state': ocp.args.StandardRestore(abstract)}
        if batches is not None:
            args['data'] = grain.checkpoint.CheckpointRestore(batches)
        return self._manager.restore(steps[-1] if step is None else step, args=ocp.args.Composite(**args))['state']

    def close(self):
        """Waits for a save under way."""
        self._manager.close()
