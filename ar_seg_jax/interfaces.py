"""What the parts of the program know of one another: batches, models, methods."""

import abc
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, Protocol, TypedDict, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Float16, Int, Key, UInt8

from ar_seg_jax.epochs import Cadence, Phase, Time
from ar_seg_jax.errors import UserError

Params = Mapping[str, Any]  # arrays trained by gradient
Extra = Mapping[str, Any]  # every other array that must survive a restart
Metrics = Mapping[str, Float[Array, '']]
Guard = Callable[[Iterable], Iterator]  # passes on what it gets, and can leave in between
Size = int | Sequence[int]  # of images in configs, in pixels: the side of squares, or height and width

BATCH_STATS = 'batch_stats'  # part of Extra: running statistics of normalisation, by the paths of the parameters beside them
VOID = 255  # label of pixels that are not annotated, or not of the classes of interest


def sides(size: Size, place: str = 'a size of images') -> tuple[int, int]:
    """Height and width of what configs call a size. A list of one is a square too: that is what a flag makes of a number where
    the default has two. UserError, about `place`, for anything else than one or two numbers from 1 on."""
    found = (size,) if isinstance(size, int) else tuple(size)
    if len(found) not in (1, 2) or min(found) < 1:
        raise UserError(f'{place} is the side of squares, or (height, width), in pixels, at least 1; found {size}')
    return found[0], found[-1]


class Batch(TypedDict):
    """Images as they travel: 8 bits, channels last; VOID where there is no label.

    mask: True where pixels count. What methods and baselines learn from, losses and k-means, leaves out all others, which are
        context only; absent where every pixel counts.
    regions: the number of the superpixel of each pixel, for methods that use them, in training alone: from 0, and less than the
        number of pixels, in each image.
    box: which part of its image a crop is, for methods that use it: top, left, height and width as shares of the image's; absent
        where images are whole.
    encoded: what an `Encoder` gives of the crop, as a part of what it gives of its whole image, for methods that ask for it, in
        training alone.
    """

    image: UInt8[Array, 'batch height width channels']
    label: UInt8[Array, 'batch height width']
    mask: NotRequired[Bool[Array, 'batch height width']]
    regions: NotRequired[Int[Array, 'batch height width']]
    box: NotRequired[Float[Array, 'batch 4']]
    encoded: NotRequired[Float16[Array, 'batch map_height map_width features']]


def counted(batch: Batch) -> Bool[Array | np.ndarray, 'batch height width']:
    """Which pixels count."""
    return batch['mask'] if 'mask' in batch else jnp.ones(batch['image'].shape[:3], bool)


class Encoder(NamedTuple):
    """An encoder that is not trained.

    name: differs whenever options or weights differ. stride: pixels of an image from one cell of its maps to the next; cell 0
    begins at its first pixel. encode: from a batch of images to maps, on a device of this process.
    """

    name: str
    stride: int
    encode: Callable[
        [UInt8[np.ndarray, 'batch height width channels']], Float16[np.ndarray, 'batch map_height map_width features']
    ]


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
    output_stride: pixels from one cell of the maps to the next, about; `to_pixels` knows exactly.
    first_cell: the pixel at which cell 0 is centred, for rows and for columns, so that cell i is at `first_cell` + i *
        `output_stride`; it may be between two pixels. None where maps are stretched over the image. As `to_pixels` has it.
    reach: pixels beyond which, on any side, what is interpolated from cells to a pixel does not depend on the image; None where
        it depends on all of it.
    normalisation: of its input. dtype: of the computation.

    A network with larger cells inside than those of its maps also has a `tile_stride`: when an image is moved by that many
    pixels, its maps are those of before, moved. One that wants large images whole, not in parts, has `tiled` = False.
    """

    heads: Mapping[str, int]
    output_stride: int
    first_cell: float | None
    reach: int | None
    normalisation: Normalisation
    dtype: jax.typing.DTypeLike

    def __call__(
        self, image: Float[Array, 'batch height width channels'], *, train: bool = False
    ) -> Mapping[str, Float[Array, 'batch map_height map_width _']]:
        """'features', and one map for each head, float32."""

    def to_pixels(
        self, maps: Float[Array, 'batch map_height map_width channels'], height: int, width: int
    ) -> Float[Array, 'batch {height} {width} channels']:
        """Any such maps at the pixels of an image, interpolated: a linear map of each channel, without parameters."""


class Outputs(TypedDict, total=False):
    """What a method predicts for images. It gives what it has; evaluators say what they need.

    A method that makes an image of objects also gives what they are: cluster 0 of its scores is the background, cluster k is slot
    k, and its logits are those of the slots' attention.
    """

    scores: Float[Array, 'batch height width clusters']  # probabilities, float32
    features: Float[Array, 'batch map_height map_width channels']
    logits: Float[Array, 'batch map_height map_width outputs']  # what the scores are made of
    reconstruction: Float[Array, 'batch height width channels']  # 0 to 1, as the background
    background: Float[Array, 'batch height width channels']
    glimpses: Float[Array, 'batch slots glimpse_height glimpse_width channels_and_mask']  # 0 to 1; the mask comes last
    # Centre x (right) and y (down) of a glimpse, from -1 to 1 between the outer edges of the image, and the factors s_x and s_y
    # that go from these coordinates to its own: it is 2 / s_x wide.
    places: Float[Array, 'batch slots 4']


@struct.dataclass
class ModelState:
    """What evaluation and prediction need. A pytree of arrays or, in a description of a state, of their shapes.

    step: batches seen so far, int32; the place in the data too. params and extra: see above.
    """

    step: Any
    params: Params
    extra: Extra


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
    where it predicts none. uses_labels: whether it is trained with them; the data then has as many classes as it has clusters.
    uses_place: whether it matters where in an image a pixel is; images are then seen whole, and crops of them have a `box`.
    region_size: pixels, on average, of the superpixels that are the `regions` of training batches; 0 where they have none.
    image_size: height and width of the images that it takes; None for images of any size.
    reach: as that of a model, of the scores. output_stride and first_cell: as those of a model.
    fixed: groups of parameters that have to be in config.frozen, since the method relies on their staying as they are.
    refresh_when: before which steps `refresh` is called, None for never. restarted: the groups of parameters that `refresh` draws
    anew, by their paths ('head', 'network/decoder'): whatever lies below, whose moments in the optimiser then begin anew too.
    phases: parts of the training that compute something else, or train other groups, in order; () where all steps are alike. A
    phase lasts until the next one begins, and has no steps if both begin together. When one begins, the moments of the optimiser
    begin anew, while learning rates go on as scheduled.

    `extra` is a mapping of arrays of any type, which forward, refresh and readout give again in the shapes and types of init.
    These depend neither on the size of batches nor on the data set: a state is evaluated, and goes on, with others. Its
    'batch_stats' are as BATCH_STATS says.
    """

    title: str
    loss_in_words: str
    num_clusters: int
    image_size: tuple[int, int] | None = None
    uses_labels: bool = False
    uses_place: bool = False
    region_size: int = 0
    reach: int | None = None
    fixed: tuple[str, ...] = ()
    refresh_when: Cadence | None = None
    restarted: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()

    def phase(self, step: int) -> Phase | None:
        """That of the step which comes after `step` steps: the last one that has begun; None where there are no phases."""
        return next((phase for phase in reversed(self.phases) if phase.begin <= step), None)

    def during(self, phase: Phase | None) -> 'Method':
        """What computes `forward` and `objective` of the steps of a phase, with the same parameters and `extra`."""
        return self

    @property
    def output_stride(self) -> int:
        """That of its `model`, where a method does not say another. Images are cut at multiples of it, so that a network with
        larger cells inside than those it gives out wants theirs, its `tile_stride`."""
        return getattr(self.model, 'tile_stride', self.model.output_stride)

    @property
    def first_cell(self) -> float | None:
        """That of its `model`, where a method does not say another."""
        return self.model.first_cell

    @property
    def tiled(self) -> bool:
        """Whether large images can be predicted in parts: where its `model` can, and places do not matter."""
        return getattr(self.model, 'tiled', True) and not self.uses_place

    def check(self, image_shape: tuple[int, int, int, int], micro_batches: int):
        """UserError if it cannot be trained with batches of this shape in so many parts. The first step need not say it then."""

    def encoder(self, params: Params, extra: Extra) -> Encoder | None:
        """What training batches have as `encoded`, where the method asks for it; its weights stay as they are in training."""
        return None

    @abc.abstractmethod
    def init(self, key: Key[Array, ''], image: UInt8[Array, 'batch height width channels']) -> tuple[Params, Extra]:
        """First parameters and state for images like `image`."""

    @abc.abstractmethod
    def forward(
        self, params: Params, extra: Extra, batch: Batch, *, key: Key[Array, ''], time: Time, part: int | Array = 0
    ) -> tuple[Any, Extra]:
        """What `objective` compares, a pytree whose leaves have one entry for each image; and new extra.

        In training `batch` are the images of one device (`parallel.on_devices`), which is why batch norm, sums that go into
        `extra` and what is random about an image come from `parallel`. Elsewhere it is the whole batch.

        `key` is that of the step. Of a batch that is computed in parts each part has its number: what is random for every
        image depends on it, what is drawn once for the batch (a pair of orderings) must not.
        """

    @abc.abstractmethod
    def objective(self, outputs: Any, batch: Batch, *, time: Time) -> tuple[Float[Array, ''], Metrics]:
        """The loss, a scalar over the *global* batch, from the outputs of all its images; scalars to log."""

    def refresh(
        self, params: Params, extra: Extra, batches: Iterator[Batch], *, key: Key[Array, ''], time: Time
    ) -> tuple[Params, Extra]:
        """A part of training that needs more than a batch: clusters for pseudo-labels, a new head. See `refresh_when`.

        Labels of all images would be an array that depends on the data set. Methods such as DeepCluster and PiCIE keep in `extra`
        what makes them: a teacher, which is a copy of the parameters (and statistics), and centroids. This writes both, and
        `forward` computes the labels of its batch with them. What is given back may contain the same array twice.

        `batches` are all those with images of the pass `time.epoch`, see `Epochs.batches`: every training image is in one of them
        at least, cropped as for training, without `regions` and `encoded`. They are global batches on the devices, read when they
        are asked for. All of this follows from the step, so that a run that was stopped goes on with the same bits.
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

    def to_pixels(
        self, maps: Float[Array, 'batch map_height map_width channels'], height: int, width: int
    ) -> Float[Array, 'batch {height} {width} channels']:
        """The features and logits of `predict` at the pixels of the image; as its `model` does, if a method does not say else."""
        return self.model.to_pixels(maps, height, width)

    def describe(self, metrics: Mapping[str, float]) -> Remark:
        """What people should read of the metrics that `objective` gives."""
        return Remark()


@functools.lru_cache(maxsize=8)  # evaluators are made once to check their options and once to be used
def predicted_shapes(method: Method, image_shape: tuple[int, int, int, int]) -> Outputs:
    """The shapes of what a method predicts for images of this shape; nothing is computed."""
    key, image = jax.eval_shape(lambda: (jax.random.key(0), jnp.zeros(image_shape, jnp.uint8)))
    return jax.eval_shape(method.predict, *jax.eval_shape(method.init, key, image), image)
