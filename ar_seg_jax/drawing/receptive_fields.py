"""Which pixels one pixel reads through masked layers, found from the gradients of the layers themselves.

After section 4 of the supplement: the receptive field of a pixel is where the gradient of its features with respect to the
input is not zero. Weights are drawn positive and convolutions are linear, so that no two paths cancel; the input is
constant, so that attention alone is even.
"""

import math
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from ar_seg_jax import orderings
from ar_seg_jax.attention import MaskedAttention
from ar_seg_jax.errors import UserError
from ar_seg_jax.layers import MaskedConv

Zigzag = Literal['corner', 'alternate']
_CHANNELS = 2  # the fewest that attention takes
# Along the weakest path a gradient shrinks by about 36 a layer: after 16 layers it is far from the smallest float32.
MOST_LAYERS = 16


def convolutions(count: int, zigzag: Zigzag = 'corner') -> tuple[nn.Module, ...]:
    """Consecutive 3x3 masked convolutions; under 'alternate' the zigzag shifts are 'top' and 'left' in turn, as in the models.

    Raises UserError unless `count` is from 1 to MOST_LAYERS.
    """
    if not 1 <= count <= MOST_LAYERS:
        raise UserError(f'receptive fields are drawn for 1 to {MOST_LAYERS} layers, found {count}')
    shifts = {'corner': ('corner', 'corner'), 'alternate': ('top', 'left')}[zigzag]
    return tuple(MaskedConv(_CHANNELS, zigzag_shift=shifts[index % 2]) for index in range(count))


def attention() -> tuple[nn.Module, ...]:
    """One layer of masked attention."""
    return (MaskedAttention(),)


def of_centre(
    layers: Sequence[nn.Module], names: tuple[str, ...], size: int
) -> Bool[np.ndarray, 'orderings layers {size} {size}']:
    """What the pixel at row and column `size // 2` has read after each of `layers`, under each of the orderings `names`.

    Raises UserError for a map without pixels and for names that no ordering has.
    """
    if size < 1:
        raise UserError(f'a map has at least one pixel a side, found {size}')
    image = jnp.ones((1, size, size, _CHANNELS))
    variables = [_positive(seed, layer, image) for seed, layer in enumerate(layers)]

    def centre(image, ordering):
        x = orderings.into_frame(image, ordering)
        read = []
        for layer, weights in zip(layers, variables, strict=True):
            x = layer.apply(weights, x, ordering)
            read.append(orderings.out_of_frame(x, ordering)[0, size // 2, size // 2].sum())
        return jnp.stack(read)

    gradients = jax.jit(lambda: jax.lax.map(lambda ordering: jax.jacrev(centre)(image, ordering), orderings.stack(names)))()
    return np.any(np.asarray(gradients)[:, :, 0] != 0, axis=-1)


def _positive(seed: int, layer: nn.Module, image):
    """Variables of `layer` with kernels that about keep the scale of features, and no biases."""
    random = np.random.default_rng(seed)

    def draw(leaf):
        kernel = random.uniform(0.5, 1.5, leaf.shape) / math.prod(leaf.shape[:-1])
        return jnp.asarray(kernel if leaf.ndim > 1 else np.zeros(leaf.shape), jnp.float32)

    return jax.tree.map(draw, jax.eval_shape(layer.init, jax.random.key(0), image))


def past(name: str, size: int) -> Bool[np.ndarray, '{size} {size}']:
    """What the ordering `name` has visited when it stands on the pixel at row and column `size // 2`, that pixel included."""
    ranks = orderings.rank(orderings.by_name(name), size, size)
    return ranks <= ranks[size // 2, size // 2]
