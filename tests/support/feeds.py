"""Data for tasks that need no data set: batches that follow from their number."""

import dataclasses
import itertools
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from ar_seg_jax import sharding
from ar_seg_jax.epochs import Epochs
from ar_seg_jax.training.task import Task
from ar_seg_jax.training.weights import InitialWeights


def mesh_of(devices) -> Mesh:
    """The first so many of the devices that are here."""
    return jax.make_mesh((devices,), ('data',), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


@dataclasses.dataclass(frozen=True)
class Numbered:
    """A `training.task.Feed` of batches that `make` gives for their numbers, whole, as NumPy arrays.

    images: in a pass; by default those of three batches.
    """

    make: Callable[[int], dict[str, np.ndarray]]
    mesh: Mesh
    images: int = 0
    micro_batches: int = 1

    @property
    def image_shape(self):
        return self.make(0)['image'].shape

    @property
    def epochs(self):
        batch_size = self.image_shape[0]
        return Epochs(self.images or 3 * batch_size, batch_size)

    def training(self, start, encoder=None, guard=iter):
        for index in itertools.count(start):
            batch = {name: np.split(array, jax.process_count())[jax.process_index()] for name, array in self.make(index).items()}
            if self.micro_batches > 1:
                batch = {name: array.reshape(self.micro_batches, -1, *array.shape[1:]) for name, array in batch.items()}
            yield batch

    def epoch(self, number):
        numbers = self.epochs.batches(number)
        return itertools.islice(self.placed(numbers.start), len(numbers))

    def sample(self):
        return itertools.islice(self.placed(), 2)

    def placed(self, start=0):
        """Batches from `start` on, endlessly, on the devices."""
        whole = dataclasses.replace(self, micro_batches=1)
        return (sharding.place(batch, sharding.split_batch(self.mesh)) for batch in whole.training(start))


def task(method, optimizer, feed: Numbered, *, seed=0, weights=None) -> Task:
    """What is trained with these batches, on the devices where they lie."""
    weights = weights or InitialWeights('', '', '', (), 'own')
    return Task(method, optimizer, feed, feed.mesh, seed, weights, feed.micro_batches)
