"""When things happen in a training: steps, epochs, and the parts that a training has."""

import dataclasses
from typing import Literal, NamedTuple

from jaxtyping import Array, Int

from ar_seg_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Epochs:
    """Which steps an epoch has. An epoch is a pass over the training split, of `images`, in batches of `batch_size`.

    Batches go on over the end of a pass, so that no image is left out: of 100 images in batches of 60 the second batch has the
    last 40 of one pass and the first 20 of the next. Such a step belongs to the epoch of its first image. The epoch of a step is
    thus the number of passes that are complete before it, and `epochs` of them take first_step(epochs) steps.
    """

    images: int
    batch_size: int

    def of(self, step: int | Int[Array, '']) -> int | Int[Array, '']:
        """The epoch, from 0, of the step that comes after `step` steps: floor(step * batch_size / images)."""
        if isinstance(step, int):
            return step * self.batch_size // self.images
        # The product may not fit into 32 bits. It wraps, as that of a guess does; what is between them is small, and so exact.
        guess = (step * (self.batch_size / self.images)).astype(step.dtype)
        return guess + (step * self.batch_size - guess * self.images) // self.images

    def first_step(self, epoch: int | float) -> int:
        """Steps before `epoch`, which may be a part of one: ceil(epoch * images / batch_size)."""
        return -(-round(epoch * self.images) // self.batch_size)

    def batches(self, epoch: int) -> range:
        """Numbers, from 0, of the batches that have images of the pass `epoch`; the first may belong to the epoch before."""
        return range(epoch * self.images // self.batch_size, self.first_step(epoch + 1))


class Time(NamedTuple):
    """How far training has come: batches seen, and the epoch of the next one, see `Epochs`; int32."""

    step: Int[Array, '']
    epoch: Int[Array, '']

    @classmethod
    def at(cls, step: Int[Array, ''], epochs: Epochs) -> 'Time':
        """The time after `step` steps."""
        return cls(step, epochs.of(step))


@dataclasses.dataclass(frozen=True)
class Cadence:
    """Before which steps something happens: that with the number `first` and each `every` after it, if `every` is not 0.

    Both count 'steps', or 'epochs', which means their first steps. Cadence() is before each epoch, Cadence(0) once, before all
    steps, Cadence(0, 'steps', 1000) once, after 1000 of them. Raises UserError for anything else.
    """

    every: int = 1
    unit: Literal['steps', 'epochs'] = 'epochs'
    first: int = 0

    def __post_init__(self):
        if self.unit not in ('steps', 'epochs'):
            raise UserError(f"the unit of a cadence is 'steps' or 'epochs', found {self.unit!r}")
        for name in ('every', 'first'):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise UserError(f'{name!r} of a cadence is a whole number of {self.unit}, at least 0; found {value!r}')

    def due(self, step: int, epochs: Epochs) -> bool:
        """Whether it happens after `step` steps, before the next one."""
        count = step
        if self.unit == 'epochs':
            count = epochs.of(step)
            if step != epochs.first_step(count):
                return False
        passed = count - self.first
        return passed == 0 or (self.every > 0 and passed > 0 and passed % self.every == 0)


class Phase(NamedTuple):
    """A part of a training, see `Method.phases`.

    name: by which config.phase_optimizers knows it. begin: the number of its first step, from 0. frozen: groups of parameters, by
    their paths, that stay as they are, and whose gradients are not computed.
    """

    name: str
    begin: int
    frozen: tuple[str, ...] = ()
