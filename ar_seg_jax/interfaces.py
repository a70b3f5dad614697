"""What the parts of the program know of one another: batches, models, methods."""

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypedDict, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key, UInt8

Params = Mapping[str, Any]  # arrays trained by gradient
Extra = Mapping[str, Any]  # every other array that must survive a restart
Metrics = Mapping[str, Float[Array, '']]

VOID = 255  # label of pixels that are not annotated, or not of the classes of interest


class Batch(TypedDict):
    """Images as they travel: 8 bits, channels last; VOID where there is no label."""

    image: UInt8[Array, 'batch height width channels']
    label: UInt8[Array, 'batch height width']


class Normalisation(NamedTuple):
    """The input that a model was made for: (image - mean) / deviation of images in [0, 1], by channel; empty for just these."""

    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def apply(self, image: Float[Array, 'batch height width channels']) -> Float[Array, 'batch height width channels']:
        if not self.mean:
            return image
        return (image - jnp.array(self.mean)[None, None, None]) / jnp.array(self.deviation)[None, None, None]


@runtime_checkable
class Model(Protocol):
    """A Flax module from images to feature maps; a frozen dataclass of its options, as all of them are.

    heads: widths by name of the maps that a method wants besides the features, each a linear map of these.
    output_stride: pixels from one cell of the maps to the next.
    reach: pixels beyond which, on any side, what is interpolated from cells to a pixel does not depend on the image; None where
        it depends on all of it.
    normalisation: of its input. dtype: of the computation.
    """

    heads: Mapping[str, int]
    output_stride: int
    reach: int | None
    normalisation: Normalisation
    dtype: jax.typing.DTypeLike

    def __call__(
        self, image: Float[Array, 'batch height width channels'], *, train: bool = False
    ) -> Mapping[str, Float[Array, 'batch map_height map_width _']]:
        """'features', and one map for each head, float32."""


class Outputs(TypedDict, total=False):
    """What a method predicts for images. It gives what it has; evaluators say what they need."""

    scores: Float[Array, 'batch height width clusters']  # probabilities, float32
    features: Float[Array, 'batch map_height map_width channels']
    logits: Float[Array, 'batch map_height map_width outputs']  # what the scores are made of


@struct.dataclass
class ModelState:
    """What evaluation and prediction need. A pytree of arrays or, in a description of a state, of their shapes.

    step: batches seen so far, int32; the place in the data too. params and extra: see above.
    """

    step: Any
    params: Params
    extra: Extra


class Time(NamedTuple):
    """How far training has come: batches seen, and passes over the training split that are complete; int32."""

    step: Int[Array, '']
    epoch: Int[Array, '']


@dataclasses.dataclass(frozen=True)
class Cadence:
    """Before which steps something happens: the first one and, if `every` is not 0, each `every` 'steps' or 'epochs' after it."""

    every: int = 1
    unit: Literal['steps', 'epochs'] = 'epochs'

    def due(self, step: int, steps_per_epoch: int) -> bool:
        """Whether it happens after `step` steps, before the next one."""
        period = self.every * (steps_per_epoch if self.unit == 'epochs' else 1)
        return step % period == 0 if period else step == 0


class Remark(NamedTuple):
    """What people are told about metrics: a part of the line of a step, and what is wrong and what to do, or ''."""

    words: str = ''
    warning: str = ''


@runtime_checkable
class Method(Protocol):
    """How a model is trained, and what the result predicts: pure functions of arrays, which a frozen dataclass implements.

    `build(make_model, **options)` in the file of a method makes it from the options of config.method. `make_model(heads=...)`
    makes the model of config.model with the heads that the method wants.

    title: what tables call it. loss_in_words: what the loss is, and its unit. num_clusters: of the scores of `predict`, 0
    where it predicts none. reach: as that of a model, of the scores. output_stride: as that of a model. refreshed: before which
    steps `refresh` is called, None for never. restarted: the top-level parameters that `refresh` draws anew, whose optimiser then
    begins anew too.
    """

    title: str
    loss_in_words: str
    num_clusters: int
    reach: int | None = None
    refreshed: Cadence | None = None
    restarted: tuple[str, ...] = ()

    @property
    def output_stride(self) -> int:
        """That of its `model`, where a method does not say another. Images are cut at multiples of it, so that a network with
        larger cells inside than those it gives out wants theirs."""
        return self.model.output_stride

    def check(self, image_shape: tuple[int, int, int, int], micro_batches: int):
        """UserError if it cannot be trained with batches of this shape in so many parts. The first step need not say it then."""

    @abc.abstractmethod
    def init(self, key: Key[Array, ''], image: UInt8[Array, 'batch height width channels']) -> tuple[Params, Extra]:
        """First parameters and state for images like `image`."""

    @abc.abstractmethod
    def forward(
        self, params: Params, extra: Extra, batch: Batch, *, key: Key[Array, ''], time: Time, part: int | Array = 0
    ) -> tuple[Any, Extra]:
        """What `objective` compares, a pytree whose leaves have one entry for each image; and new extra.

        `key` is that of the step. Of a batch that is computed in parts each part has its number: what is random for every
        image depends on it, what is drawn once for the batch (a pair of orderings) must not.
        """

    @abc.abstractmethod
    def objective(self, outputs: Any, batch: Batch, *, time: Time) -> tuple[Float[Array, ''], Metrics]:
        """The loss, a scalar over the *global* batch, from the outputs of all its images; scalars to log."""

    def refresh(
        self, params: Params, extra: Extra, batches: Iterator[Batch], *, key: Key[Array, ''], time: Time
    ) -> tuple[Params, Extra]:
        """A part of training that needs more than a batch: pseudo-labels, a new head. See `refreshed`.

        `batches` are those of the epoch that begins with the next step, as global batches on the devices, read when they are
        asked for. All of this follows from the step, so that a run that was stopped goes on with the same bits.
        """
        return params, extra

    def readout(self, params: Params, extra: Extra, batches: Iterator[Batch], *, key: Key[Array, '']) -> Extra:
        """Before a state is saved or evaluated, what `predict` needs besides what was trained: centroids, say.

        Training must not depend on it, since a run that was stopped has been saved more often.
        """
        return extra

    @abc.abstractmethod
    def predict(self, params: Params, extra: Extra, image: UInt8[Array, 'batch height width channels']) -> Outputs:
        """What the network of inference gives; jit prunes what nobody reads."""

    def describe(self, metrics: Mapping[str, float]) -> Remark:
        """What people should read of the metrics that `objective` gives."""
        return Remark()
