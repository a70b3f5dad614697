"""What is trained, and how: the same from the first step of a run to its last."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from ar_seg_jax import sharding
from ar_seg_jax.interfaces import Batch, Epochs, Method, Time
from ar_seg_jax.training.optimizer import Optimizer, restart
from ar_seg_jax.training.state import TrainState, create_state
from ar_seg_jax.training.step import make_train_step
from ar_seg_jax.training.weights import InitialWeights

_REFRESH = 0x5EF  # numbers a stream of random numbers apart from those of the steps

Guard = Callable[[Iterable], Iterator]  # passes on what it gets, and can leave in between


@runtime_checkable
class Feed(Protocol):
    """The batches of a data set.

    image_shape: of the images of a global training batch. epochs: which of the batches are which pass over the training split.
    """

    image_shape: tuple[int, int, int, int]
    epochs: Epochs

    def training(self, start: int) -> Iterator[Batch]:
        """This process's parts of the training batches, endlessly, from the one that follows step `start`."""

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
        state = jax.jit(self._create, out_shardings=sharding.replicated(self.mesh))()
        model = self.weights.put(state.model)
        return state.replace(params=model.params, extra=model.extra)

    def shapes(self) -> TrainState:
        """A description of the state."""
        everywhere = sharding.replicated(self.mesh)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), jax.eval_shape(self._create)
        )

    def compiled_step(self) -> Callable[[TrainState, Batch], tuple[TrainState, Any, Any]]:
        """The function of `make_train_step`, compiled when it is first called; it takes the place of the state it is given."""
        step = make_train_step(self.method, self.optimizer, epochs=self.data.epochs, micro_batches=self.micro_batches)
        return jax.jit(step, donate_argnums=0)

    def refreshed(self, state: TrainState, guard: Guard) -> TrainState:
        """The state that the next step begins with, after `Method.refresh` where that is due. `guard` is around the batches."""
        step, cadence = int(state.step), self.method.refresh_when
        if cadence is None or not cadence.due(step, self.data.epochs):
            return state
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), _REFRESH)
        time = Time.at(state.step, self.data.epochs)
        batches = guard(self.data.epoch(self.data.epochs.of(step)))
        with jax.set_mesh(self.mesh):
            params, extra = self.method.refresh(state.params, state.extra, batches, key=key, time=time)
        opt_state = state.opt_state
        if self.optimizer.restarted:
            opt_state = restart(self.optimizer, opt_state, params)
        return state.replace(params=params, extra=extra, opt_state=opt_state)

    def read_out(self, state: TrainState) -> TrainState:
        """The state with whatever the method needs for predictions brought up to date."""
        key = jax.random.fold_in(jax.random.key(self.seed), state.step)
        return state.replace(extra=self.method.readout(state.params, state.extra, self.data.sample(), key=key))

    def _create(self) -> TrainState:
        return create_state(self.method, self.optimizer.tx, self.seed, jnp.zeros(self.data.image_shape, jnp.uint8))
