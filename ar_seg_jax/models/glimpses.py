"""From objects to the image: glimpses, where they are placed, and what of them can be seen."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.models.background import normalised
from ar_seg_jax.models.transposed import TransposedConv

_LAST_WIDTH = 8  # channels of the last layer but one; each layer before it has twice as many


class Composite(NamedTuple):
    """An image made of layers.

    image: RGB in [0, 1]. weights: the share of the background (0) and of each slot (1 ... K) in each pixel; they sum to 1.
    """

    image: Float[Array, 'batch 3 height width']
    weights: Float[Array, 'batch layers height width']


class GlimpseGenerator(nn.Module):
    """Appearances to small pictures of `size` x `size` pixels, a power of two from 8 on: RGB and mask in [0, 1].

    Transposed convolutions from one cell, k2 to two and then k4 s2 p1, without bias and each followed by
    `background.normalised`; the last one has a bias and a sigmoid. The supplement has 32 pixels for images of 64 (with 64, 32,
    16, 8 and 4 channels), 64 for 128 (128, 64, ...) and 128 for 200 and more (256, 128, ...).
    """

    size: int
    dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(self, appearance: Float[Array, '*slots channels']) -> Float[Array, '*slots {self.size} {self.size} 4']:
        x = appearance.reshape(-1, 1, 1, appearance.shape[-1])
        doublings = self.size.bit_length() - 1
        for index in range(doublings):
            shape = (4, 2, 1) if index else (2, 1, 0)
            if index == doublings - 1:
                x = TransposedConv(4, *shape, use_bias=True, dtype=self.dtype, name='last')(x)
            else:
                conv = TransposedConv(_LAST_WIDTH * 2 ** (doublings - 2 - index), *shape, dtype=self.dtype, name=f'conv_{index}')
                x = normalised(conv(x), f'norm_{index}')
        return nn.sigmoid(x.astype(jnp.float32)).reshape(*appearance.shape[:-1], self.size, self.size, 4)


def place(
    glimpses: Float[Array, 'batch slots glimpse_height glimpse_width channels'],
    places: Float[Array, 'batch slots 4'],
    height: int,
    width: int,
) -> Float[Array, 'batch slots channels {height} {width}']:
    """Each glimpse where its slot is in the image, and zeros beside it: what a spatial transformer samples.

    The pixel whose centre is at u = (2j + 1) / width - 1 sees the glimpse at s_x (u - x), bilinear between the centres of its
    pixels, with zeros around them. Rows and columns are sampled apart, each by a small product: B_y G B_x^T with
    B[j, m] = max(0, 1 - |index of j - m|). This equals torch's grid_sample (align_corners False, zeros).
    """
    rows = _samples(places[..., 1], places[..., 3], glimpses.shape[2], height)
    columns = _samples(places[..., 0], places[..., 2], glimpses.shape[3], width)
    x = jnp.einsum('bkyxc,bkwx->bkcyw', glimpses, columns)
    return jnp.einsum('bkhy,bkcyw->bkchw', rows, x)


def _samples(
    centre: Float[Array, 'batch slots'], scale: Float[Array, 'batch slots'], cells: int, pixels: int
) -> Float[Array, 'batch slots {pixels} {cells}']:
    """The share of each cell of the glimpse in each pixel, along one axis."""
    places = (2 * jnp.arange(pixels) + 1) / pixels - 1
    seen = scale[..., None] * (places[None, None] - centre[..., None])
    indices = ((seen + 1) * cells - 1) / 2
    return jnp.maximum(0, 1 - jnp.abs(indices[..., None] - jnp.arange(cells)[None, None, None]))


def composite(
    placed: Float[Array, 'batch slots 4 height width'],
    activation: Float[Array, 'batch slots'],
    background: Float[Array, 'batch 3 height width'],
    background_activation: Float[Array, 'height width'],
) -> Composite:
    """Weights w_k = a_k M_k / sum a_i M_i, i = 0 ... K, with the masks M, M_0 = 1 and a = exp(activation), and sum w_k RGB_k.

    Computed relative to the background, whose activation is a logit for each pixel, so that the sum is never zero.
    """
    rivals = jnp.exp(activation[:, :, None, None] - background_activation[None, None]) * placed[:, :, 3]
    total = 1 + jnp.sum(rivals, axis=1, keepdims=True)
    weights = jnp.concatenate([1 / total, rivals / total], axis=1)
    image = weights[:, :1] * background + jnp.einsum('bkhw,bkchw->bchw', weights[:, 1:], placed[:, :, :3])
    return Composite(image, weights)
