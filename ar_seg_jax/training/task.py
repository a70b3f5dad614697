"""What is trained, and how: the same from the first step of a run to its last."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from ar_seg_jax import sharding
from ar_seg_jax.epochs import Epochs, Phase, Time
from ar_seg_jax.interfaces import Batch, Encoder, Guard, Method, Params
from ar_seg_jax.training.delivery import delivered
from ar_seg_jax.training.optimizer import Optimizer, restart, with_frozen_statistics, with_new_moments
from ar_seg_jax.training.replacing import replaced
from ar_seg_jax.training.state import TrainState, create_state
from ar_seg_jax.training.step import Step, make_train_step
from ar_seg_jax.training.weights import InitialWeights

_REFRESH = 0x5EF  # numbers a stream of random numbers apart from those of the steps


@runtime_checkable
class Feed(Protocol):
    """The batches of a data set.

    image_shape: of the images of a global training batch. epochs: which of the batches are which pass over the training split.
    """

    image_shape: tuple[int, int, int, int]
    epochs: Epochs

    def training(self, start: int, encoder: Encoder | None = None, guard: Guard = iter) -> Iterator[Batch]:
        """This process's parts of the training batches, endlessly, from the one that follows step `start`.

        With an encoder they are `encoded`; `guard` is around what is computed before the first one.
        """

    def epoch(self, number: int) -> Iterator[Batch]:
        """The training batches with images of this pass, see `Epochs.batches`, as global batches on the devices, not in parts."""

    def sample(self) -> Iterator[Batch]:
        """Some training batches, always the same ones, as global batches on the devices."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A method with its data, optimiser and devices.

    seed: of parameters, and of all that is drawn in steps. weights: what the parameters begin with. micro_batches: parts of a
    batch that are computed one after another.
    """

    method: Method
    optimizer: Optimizer
    data: Feed
    mesh: Mesh
    seed: int
    weights: InitialWeights
    micro_batches: int

    def initial_state(self) -> TrainState:
        """The state before training, on every device of the mesh; the same on all of them and on any number of them."""
        state = self.split(self._created())
        model = self.weights.put(state.model)
        return state.replace(params=model.params, extra=model.extra)

    def split(self, state: TrainState) -> TrainState:
        """A whole state as steps want it: on every device its part of the optimiser's state, if that is split."""
        return self._moved(state, self._of_opt_state)

    def whole(self, state: TrainState) -> TrainState:
        """The state as checkpoints hold it, whole on every device. All processes have to ask for it together."""
        return self._moved(state, sharding.replicated(self.mesh))

    def _moved(self, state: TrainState, where: Any) -> TrainState:
        if not self.optimizer.shard_state:
            return state
        return state.replace(opt_state=jax.device_put(state.opt_state, where))

    @property
    def is_whole(self) -> bool:
        """Whether every process has all of the state of a step by itself."""
        return not self.optimizer.shard_state or jax.process_count() == 1

    def shapes(self) -> TrainState:
        """A description of a whole state."""
        everywhere = sharding.replicated(self.mesh)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), self._created.eval_shape()
        )

    def batches(self, state: TrainState, guard: Guard) -> Iterator[Batch]:
        """This process's parts of the batches of the steps that follow a state; `guard` as in `Feed.training`."""
        return self.data.training(int(state.step), self.method.encoder(state.params, state.extra), guard)

    def compiled_step(self, step: int = 0) -> Step:
        """The function of `make_train_step` for the phase of the step that comes after `step` steps.

        It is compiled when it is first called, and what it gives takes the place of the state it is given.
        """
        return self._steps[self.method.phase(step)]

    def begins_phase(self, step: int) -> bool:
        """Whether a phase, but not the training, begins after `step` steps."""
        return step > 0 and any(phase.begin == step for phase in self.method.phases)

    def in_new_phase(self, state: TrainState) -> TrainState:
        """The state with which the first step of a phase begins: with new moments of the optimiser."""
        return state.replace(opt_state=self._new_moments(state.opt_state, state.params))

    def refreshes(self, step: int) -> bool:
        """Whether `Method.refresh` is due after `step` steps, before the next one."""
        return self.method.refresh_when is not None and self.method.refresh_when.due(step, self.data.epochs)

    def refreshed(self, state: TrainState, guard: Guard) -> TrainState:
        """The state after `Method.refresh`, with which the next step begins, but for statistics of frozen groups, which stay.
        `guard` is around the batches.

        Raises ValueError, and names the array, if the method gives a state of another form.
        """
        before, key = state.extra, jax.random.fold_in(jax.random.fold_in(state.key, state.step), _REFRESH)
        batches = guard(self.data.epoch(self.data.epochs.of(int(state.step))))
        with jax.set_mesh(self.mesh):
            params, extra = self.method.refresh(
                state.params, state.extra, batches, key=key, time=Time.at(state.step, self.data.epochs)
            )
        state = self._replaced(state, 'refresh', params=params, extra=extra)
        state = state.replace(extra=with_frozen_statistics(state.extra, before, self.optimizer.frozen))
        return state.replace(opt_state=self._restart(state.opt_state, state.params)) if self.optimizer.restarted else state

    @property
    def reads_out(self) -> bool:
        """Whether `read_out` changes anything."""
        return type(self.method).readout is not Method.readout

    def read_out(self, state: TrainState) -> TrainState:
        """The state with whatever the method needs for predictions brought up to date. Raises ValueError as `refreshed` does."""
        key = jax.random.fold_in(jax.random.key(self.seed), state.step)
        with jax.set_mesh(self.mesh):
            extra = self.method.readout(state.params, state.extra, delivered(self.data.sample()), key=key)
        return self._replaced(state, 'readout', extra=extra)

    def _replaced(self, state: TrainState, function: str, **given: Any) -> TrainState:
        before = {name: getattr(state, name) for name in given}
        return state.replace(**replaced(before, given, self.mesh, f'{type(self.method).__name__}.{function}'))

    @functools.cached_property
    def _steps(self) -> dict[Phase | None, Step]:
        """By phase."""

        def compiled(phase):
            method, optimizer = self.method.during(phase), self.optimizer.during(phase)
            step = make_train_step(method, optimizer, epochs=self.data.epochs, micro_batches=self.micro_batches)
            return jax.jit(step, donate_argnums=0)

        return {phase: compiled(phase) for phase in self.method.phases or (None,)}

    @functools.cached_property
    def _new_moments(self) -> Callable[[optax.OptState, Params], optax.OptState]:
        return jax.jit(functools.partial(with_new_moments, self.optimizer), out_shardings=self._of_opt_state)

    @functools.cached_property
    def _restart(self) -> Callable[[optax.OptState, Params], optax.OptState]:
        """Compiled, so that what begins anew lies where the rest does."""
        return jax.jit(functools.partial(restart, self.optimizer), out_shardings=self._of_opt_state)

    @functools.cached_property
    def _of_opt_state(self) -> Any:
        """Where the arrays of the optimiser's state lie."""
        if not self.optimizer.shard_state:
            return sharding.replicated(self.mesh)
        return sharding.parts_of_state(self.mesh, self.shapes().opt_state)

    @functools.cached_property
    def _created(self) -> Any:
        """`_create`, jitted: it is traced once for its shapes and for the state itself."""
        return jax.jit(self._create, out_shardings=sharding.replicated(self.mesh))

    def _create(self) -> TrainState:
        return create_state(self.method, self.optimizer.tx, self.seed, jnp.zeros(self.data.image_shape, jnp.uint8))
