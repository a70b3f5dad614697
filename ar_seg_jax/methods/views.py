"""Two views of a batch: the pair of orderings, the transformation of the second, the input of the network."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from ar_seg_jax import orderings, transformations
from ar_seg_jax.orderings import RASTER, Ordering, Sampling
from ar_seg_jax.transformations import Kind

Variables = Mapping[str, Any]
Outputs = Mapping[str, Array]
Pair = tuple[Ordering, Ordering]
Hardness = Callable[[Outputs, Outputs], Float[Array, '']]


@dataclasses.dataclass(frozen=True)
class Views:
    """How the two views differ.

    orderings: names of the orderings to draw from.
    sampling: how the two are drawn, see `orderings.sample_pair`; or 'hard_loss', the hardest of `candidates` random pairs
        of different orderings by the method's loss (AC: of the main head), each of which costs a forward pass. That is the
        other way to read the paper's row 'Hard'.
    transformations: what happens to the images of the second view, see `transformations.draw`. It is undone on the
        outputs. The first view is left as it is, like IIC's; the encoder then runs twice.
    sobel: append horizontal and vertical Sobel gradients of the grey image, as IIC does on COCO-Stuff.
    """

    orderings: tuple[str, ...] = tuple(RASTER)
    sampling: Sampling | Literal['hard_loss'] = 'random'
    candidates: int = 4
    transformations: Kind = 'none'
    sobel: bool = False

    def __post_init__(self):
        orderings.stack(self.orderings)
        if self.sampling != 'hard_loss':
            orderings.check_sampling(self.sampling, len(self.orderings))
        else:
            orderings.check_sampling('no_repetition', len(self.orderings))
        if self.candidates < 1:
            raise ValueError(f'method.candidates is at least 1, found {self.candidates}')
        transformations.check(self.transformations)

    def input(self, image: UInt8[Array, 'batch height width channels']) -> Float[Array, 'batch height width inputs']:
        """What the network sees of images that nothing happened to."""
        return self._completed(image.astype(jnp.float32) / 255)

    def outputs(
        self,
        model: nn.Module,
        variables: Variables,
        image: UInt8[Array, 'batch height width channels'],
        hardness: Hardness,
        *,
        key: Key[Array, ''],
        part,
    ) -> tuple[Outputs, Outputs, Variables]:
        """The network's outputs for both views, in image orientation, and its new statistics.

        `hardness` is what 'hard_loss' looks for the highest value of. `key` and `part` as in `Method.forward`.
        """
        pair_key, dropout_key = jax.random.split(key)
        dropout_key = jax.random.fold_in(dropout_key, part)
        transformation = transformations.draw(
            jax.random.fold_in(jax.random.fold_in(key, 2), part), self.transformations, len(image)
        )

        def run(variables, pair_key):
            return self._run(model, variables, image, self._pair(pair_key), transformation, dropout_key)

        if self.sampling == 'hard_loss':
            keys = jax.random.split(pair_key, self.candidates)
            frozen = jax.lax.stop_gradient(variables)
            pair_key = keys[jnp.argmax(jax.lax.map(lambda key: hardness(*run(frozen, key)[:2]), keys))]
        return run(variables, pair_key)

    def _pair(self, key: Key[Array, '']) -> Pair:
        sampling = 'no_repetition' if self.sampling == 'hard_loss' else self.sampling
        return orderings.sample_pair(key, orderings.stack(self.orderings), sampling)

    def _run(self, model, variables, image, pair: Pair, transformation, dropout_key):
        def apply(variables, image, views, dropout_key):
            return model.apply(variables, image, views, train=True, mutable=['batch_stats'], rngs={'dropout': dropout_key})

        if self.transformations == 'none':
            (first, second), updated = apply(variables, self.input(image), pair, dropout_key)
            return first, second, updated
        image = image.astype(jnp.float32) / 255
        changed = self._completed(transformations.apply(image, self.transformations, transformation))
        (first,), updated = apply(variables, self._completed(image), pair[:1], dropout_key)
        (second,), updated = apply({**variables, **updated}, changed, pair[1:], jax.random.fold_in(dropout_key, 1))
        undone = {name: transformations.undo(maps, self.transformations, transformation) for name, maps in second.items()}
        return first, undone, updated

    def _completed(self, image):
        return append_sobel(image) if self.sobel else image


def append_sobel(image):
    """Images in [0, 1] with two more channels: the Sobel gradients of the grey image along columns and rows.

    Grey is the mean of R, G, B weighted by ITU-R 601-2; the gradients are those of a 3x3 Sobel kernel with weights
    1, 2, 1, zero padded (IIC's input on COCO-Stuff).
    """
    grey = image[..., :3] @ jnp.array([0.299, 0.587, 0.114], image.dtype)
    padded = jnp.pad(grey, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    gradients = (rows[:, :, 2:] - rows[:, :, :-2], columns[:, 2:] - columns[:, :-2])
    return jnp.concatenate([image, *(gradient[..., None] for gradient in gradients)], axis=-1)
