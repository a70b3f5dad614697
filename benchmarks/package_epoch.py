"""An epoch of the package for a method that prepares epochs (clusters, say), to be timed."""

import dataclasses
import itertools
import time
from typing import Any, Protocol

import jax
import numpy as np
import optax

from ar_seg_jax import build, sharding
from ar_seg_jax.epochs import Epochs
from ar_seg_jax.interfaces import Batch, Method, ModelState
from ar_seg_jax.training.optimizer import Optimizer
from ar_seg_jax.training.task import Task
from ar_seg_jax.training.weights import InitialWeights
from benchmarks.package_step import RATE
from benchmarks.timing import Contestant


class Workload(Protocol):
    """What `build.method` makes the method from."""

    def to_config(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class InMemory:
    """A `training.task.Feed` of batches that are on the devices. A pass has all of them, in this order."""

    batches: tuple[Batch, ...]

    @property
    def image_shape(self):
        return self.batches[0]['image'].shape

    @property
    def epochs(self):
        return Epochs(len(self.batches) * self.image_shape[0], self.image_shape[0])

    def training(self, start):
        return itertools.islice(itertools.cycle(self.batches), start % len(self.batches), None)

    def epoch(self, number):
        return iter(self.batches)

    def sample(self):
        return iter(self.batches)


def package_epoch(workload: Workload, images: np.ndarray) -> tuple[Contestant, Method, ModelState]:
    """The refresh and the steps of an epoch as the training loop runs them, and the method and the state it starts from.

    images: (batches, batch, height, width, channels), uint8. One epoch has passed before anything is timed, in which programs are
    compiled.
    """
    mesh = sharding.make_mesh()
    data = InMemory(tuple(sharding.place({'image': batch}, sharding.split_batch(mesh)) for batch in images))
    method, optimizer = build.method(workload.to_config()), Optimizer(optax.adam(RATE))
    task = Task(method, optimizer, data, mesh, 0, InitialWeights('', '', '', (), 'own'), 1)
    state, step = task.initial_state(), task.compiled_step()
    initial = jax.device_get(state.model)

    def run():
        nonlocal state
        state = task.refreshed(state, iter)
        for batch in data.batches:
            with jax.set_mesh(mesh):
                state, *_ = step(state, batch)
        jax.block_until_ready(state)

    start = time.perf_counter()
    run()
    return Contestant('JAX', run, {'preparation_seconds': time.perf_counter() - start}), method, initial
