"""Two views of a batch: the pair of orderings, the transformation of the second view, the pass through the model."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Bool, Float, Key, UInt8

from ar_seg_jax import orderings
from ar_seg_jax.augmentations import inputs
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Model
from ar_seg_jax.methods import transformations as changes
from ar_seg_jax.orderings import Ordering

Variables = Mapping[str, Any]
Maps = Mapping[str, Array]
Pair = tuple[Ordering, Ordering]
Sampling = Literal[orderings.Sampling, 'hard_loss']


@runtime_checkable
class ScanningModel(Model, Protocol):
    """A model that can follow orderings."""

    def scan(
        self, image: Float[Array, 'batch height width channels'], views: Sequence[Ordering], *, train: bool = False
    ) -> list[Maps]:
        """What `__call__` gives, under each of the orderings."""

    def used_taps(self, ordering: Ordering) -> Mapping[str, Bool[np.ndarray | Array, 'size size']]:
        """Taps of the masked kernels that a scan uses, by the paths of the kernels in the parameters, such as 'stem/kernel'."""

    def to_pixels(
        self, maps: Float[Array, 'batch map_height map_width channels'], height: int, width: int, scanned: bool = False
    ) -> Float[Array, 'batch {height} {width} channels']:
        """See `interfaces.Model`. `scanned`: the maps are those of `scan` under orderings."""


def seen_by(model: Model, views: 'Views') -> Model | ScanningModel:
    """The same model; UserError if the views need orderings that it cannot follow."""
    if views.orderings and not hasattr(model, 'scan'):
        raise UserError(
            f'config.model: {type(model).__name__} cannot follow orderings, as AC and ARL do; choose autoregressive or another '
            "method, or set method.orderings to 'none' and method.transformations to what is to tell the two views apart"
        )
    return model


@dataclasses.dataclass(frozen=True)
class Views:
    """How the two views differ.

    orderings: names of the orderings to draw from. Without any, both views are what inference sees, and only their
        transformations tell them apart: for models that cannot follow orderings, such as frozen encoders. Ours, after IIC.
    sampling: how the two are drawn, see `orderings.sample_pair`; or 'hard_loss', the hardest of `candidates` random pairs
        of different orderings by the method's loss (AC: of the main head), each of which costs a forward pass. That is the
        other way to read the paper's row 'Hard'.
    transformations: what happens to the images of the second view, see `transformations.draw`. It is undone on the
        outputs. The first view is left as it is, like IIC's; the encoder then runs twice.
    sobel: append horizontal and vertical Sobel gradients of the grey image, as IIC does on COCO-Stuff.
    common_taps_only: take those taps of masked kernels out of the gradient that one of the two views masks, although the other
        used them, as `switch_gradients` of the supplement's code does. Of two different masks of 3x3 taps, which three pairs in
        four have, it leaves 7 taps to learn. Not so by default, since the gradient is then not that of the loss. The code also
        overwrites the weights that the first view was computed with before it goes backward, which is left out.
    """

    orderings: tuple[str, ...]
    sampling: Sampling
    candidates: int
    transformations: changes.Kind
    sobel: bool
    common_taps_only: bool

    def __post_init__(self):
        if self.orderings:
            orderings.stack(self.orderings)
            orderings.check_sampling(self._sampling, len(self.orderings))
        else:
            self._check_unordered()
        if self.candidates < 1:
            raise UserError(f'method.candidates is at least 1, found {self.candidates}')
        changes.check(self.transformations)

    def check(self, height: int, width: int, output_stride: int, micro_batches: int):
        """UserError unless batches of such crops, in so many parts, can be seen in these ways."""
        if height != width and (self.orderings or changes.turns(self.transformations)):
            turning = 'orderings' if self.orderings else f'method.transformations {self.transformations!r}'
            raise UserError(
                f'{turning} turn crops, which must be squares: set pipeline.crop_size to one number, found {height}, {width}'
            )
        if self.sampling == 'hard_loss' and micro_batches > 1:
            raise UserError("method.sampling 'hard_loss' compares losses of whole batches; set pipeline.micro_batches to 1")
        if changes.moves_pixels(self.transformations) and (height % output_stride or width % output_stride):
            raise UserError(
                f'method.transformations {self.transformations!r} needs a crop that the output stride divides, so that cells '
                f'stay cells: set pipeline.crop_size to a multiple of {output_stride}, found {height}, {width}'
            )

    def _check_unordered(self):
        if self.transformations == 'none':
            raise UserError(
                "method.orderings 'none' makes both views alike; set method.transformations to jitter, flip, turn or all"
            )
        if self.sampling != 'random' or self.common_taps_only:
            raise UserError(
                "method.orderings 'none' has no pairs of orderings: leave method.sampling 'random' and "
                f'method.common_taps_only False; found {self.sampling!r} and {self.common_taps_only}'
            )

    def reach(self, model: Model) -> int | None:
        """That of what the model gives, see `interfaces.Model`; a Sobel gradient looks one pixel further."""
        return None if model.reach is None else model.reach + self.sobel

    def input(
        self, model: Model, image: UInt8[Array, 'batch height width channels']
    ) -> Float[Array, 'batch height width inputs']:
        """What the model sees of images that nothing happened to."""
        return self._input(model, inputs.to_unit(image))

    def to_pixels(
        self, model: Model | ScanningModel, maps: Float[Array, 'batch map_height map_width channels'], height: int, width: int
    ) -> Float[Array, 'batch {height} {width} channels']:
        """Maps of a view at the pixels of its images."""
        scanned = {'scanned': True} if self.orderings else {}
        return model.to_pixels(maps, height, width, **scanned)

    def outputs(
        self,
        model: Model | ScanningModel,
        variables: Variables,
        image: UInt8[Array, 'batch height width channels'],
        *,
        read: Callable[[Maps], Maps],
        loss_of: Callable[[Maps, Maps], Float[Array, '']],
        key: Key[Array, ''],
        part: int | Array,
    ) -> tuple[Maps, Maps, Variables]:
        """What a method `read`s from the model's maps of both views, in image orientation, and the model's new statistics.

        `loss_of` two of them is what 'hard_loss' looks for the highest value of. `key` and `part` as in `Method.forward`.
        """
        pair_key, dropout_key = jax.random.split(key)
        dropout_key = jax.random.fold_in(dropout_key, part)
        transformation_key = jax.random.fold_in(jax.random.fold_in(key, 2), part)
        transformation = changes.draw(transformation_key, self.transformations, len(image))

        def run(variables, pair_key):
            pair = self._pair(pair_key) if self.orderings else (None, None)
            if self.common_taps_only:
                variables = {**variables, 'params': _learning_common_taps(model, variables['params'], pair)}
            first, second, updated = self._run(model, variables, image, pair, transformation, dropout_key)
            undone = {name: changes.undo(maps, self.transformations, transformation) for name, maps in read(second).items()}
            return read(first), undone, updated

        if self.sampling == 'hard_loss':
            keys = jax.random.split(pair_key, self.candidates)
            frozen = jax.lax.stop_gradient(variables)
            pair_key = keys[jnp.argmax(jax.lax.map(lambda key: loss_of(*run(frozen, key)[:2]), keys))]
        return run(variables, pair_key)

    @property
    def _sampling(self) -> orderings.Sampling:
        """How each pair is drawn."""
        return 'no_repetition' if self.sampling == 'hard_loss' else self.sampling

    def _pair(self, key: Key[Array, '']) -> Pair:
        return orderings.sample_pair(key, orderings.stack(self.orderings), self._sampling)

    def _run(self, model, variables, image, pair: Pair | tuple[None, None], transformation, dropout_key):
        def scan(variables, image, views, dropout_key):
            options = {'train': True, 'mutable': ['batch_stats'], 'rngs': {'dropout': dropout_key}}
            if self.orderings:
                return model.apply(variables, image, views, method='scan', **options)
            maps, updated = model.apply(variables, image, **options)
            return [maps], updated

        if self.transformations == 'none':
            (first, second), updated = scan(variables, self.input(model, image), pair, dropout_key)
            return first, second, updated
        changed = changes.apply(inputs.to_unit(image), self.transformations, transformation)
        changed = self._input(model, changed)
        (first,), updated = scan(variables, self.input(model, image), pair[:1], dropout_key)
        (second,), updated = scan({**variables, **updated}, changed, pair[1:], jax.random.fold_in(dropout_key, 1))
        return first, second, updated

    def _input(self, model: Model, image: inputs.Images) -> Float[Array, 'batch height width inputs']:
        """The input of the model, of images in [0, 1]."""
        seen = model.normalisation.apply(image)
        return inputs.append_sobel(seen, image) if self.sobel else seen


def _learning_common_taps(model: ScanningModel, params: Variables, pair: Pair) -> Variables:
    """The same parameters, of whose masked kernels gradients reach only the taps that both orderings use."""
    flat = traverse_util.flatten_dict(params, sep='/')
    first, second = (model.used_taps(ordering) for ordering in pair)
    for name in first:
        common = (first[name] & second[name])[:, :, None, None]
        flat[name] = jnp.where(common, flat[name], jax.lax.stop_gradient(flat[name]))
    return traverse_util.unflatten_dict(flat, sep='/')
