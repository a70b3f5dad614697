"""What a scene looks like without its objects: the autoencoder AE-NE, and one learned image for a camera that stands still."""

from collections.abc import Mapping
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.errors import UserError
from ar_seg_jax.models import initializers
from ar_seg_jax.models.transposed import TransposedConv

Kind = Literal['simple', 'complex', 'image']
Images = Float[Array, 'batch height width 3']  # RGB, 0 to 255
Predicted = Float[Array, 'batch height width 4']  # RGB, and 255 times the error that is expected, 0 to 255

_LATENT = 16
# Channels of the layers of the encoder, the last of which is the latent, and of those of the generator after it.
_CHANNELS: Mapping[tuple[Kind, int], tuple[tuple[int, ...], tuple[int, ...]]] = {
    ('simple', 64): ((64, 160, 320, 160, 32, _LATENT), (32, 256, 512, 256, 144, 4)),
    ('complex', 64): ((64, 160, 320, 160, 16, _LATENT), (16, 640, 1280, 640, 144, 4)),
    ('simple', 128): ((64, 160, 320, 160, 160, 32, _LATENT), (32, 256, 256, 512, 256, 144, 4)),
    ('complex', 128): ((64, 320, 640, 640, 320, 16, _LATENT), (16, 320, 640, 1280, 640, 144, 4)),
}


def background(kind: Kind, size: int, dtype: layers.Dtype) -> 'Autoencoder | LearnedImage':
    """The network of this kind for images of `size` x `size` pixels. UserError for a size that has no such autoencoder."""
    if kind == 'image':
        return LearnedImage(size)
    if (kind, size) not in _CHANNELS:
        sizes = ', '.join(str(known) for name, known in _CHANNELS if name == kind)
        raise UserError(
            f'method.background {kind!r} is for images of {sizes} pixels, method.image_size is {size}; choose one of these '
            "sizes, or 'image' for scenes with a single background"
        )
    return Autoencoder(*_CHANNELS[kind, size], dtype)


class Autoencoder(nn.Module):
    """AE-NE (Sauvalle and de La Fortelle 2023): images through 16 numbers to their backgrounds, and the error to expect.

    encoder: channels of the convolutions: k5 s2 p2 as long as the side is above 5, then k4 s2 p1 from 4 to 2 cells and k2 s1 to
    one. generator: those of the transposed ones, which mirror them, k5 with an output padding of 1. Each layer sees two more
    channels, its rows and columns (`_with_places`), has no bias, and is followed by `normalised`; only the generator's last one
    has a sigmoid, times 255. For square images whose side is 4 * 2^n, of 64 or 128 pixels in the paper.

    Computed in `dtype`, parameters and what it gives are float32.
    """

    encoder: tuple[int, ...]
    generator: tuple[int, ...]
    dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(self, image: Images) -> Predicted:
        strided = len(self.encoder) - 2
        x = image.astype(self.dtype)
        for index, (channels, (size, stride, padding)) in enumerate(
            zip(self.encoder, [(5, 2, 2)] * strided + [(4, 2, 1), (2, 1, 0)], strict=True)
        ):
            conv = nn.Conv(
                channels,
                (size, size),
                stride,
                padding,
                use_bias=False,
                dtype=self.dtype,
                kernel_init=initializers.uniform,
                name=f'encoder_{index}',
            )
            x = normalised(conv(_with_places(x)), f'encoder_norm_{index}')
        shapes = [(2, 1, 0, 0), (4, 2, 1, 0), *[(5, 2, 2, 1)] * strided]
        for index, (channels, shape) in enumerate(zip(self.generator, shapes, strict=True)):
            x = TransposedConv(channels, *shape, dtype=self.dtype, name=f'generator_{index}')(_with_places(x))
            if index < len(shapes) - 1:
                x = normalised(x, f'generator_norm_{index}')
        return 255 * nn.sigmoid(x.astype(jnp.float32))


class LearnedImage(nn.Module):
    """The same background for all images, as a parameter: enough where neither camera nor light moves.

    A deviation from the paper, for small budgets: the simple AE-NE for 64 pixels computes 12 times as much as a small model of
    the foreground. The parameter, (size, size, 4), is what the sigmoid is taken of; 0 is grey.
    """

    size: int

    @nn.compact
    def __call__(self, image: Images) -> Predicted:
        logits = self.param('logits', nn.initializers.zeros, (self.size, self.size, 4))
        return jnp.broadcast_to(255 * nn.sigmoid(logits)[None], (len(image), *logits.shape))


def normalised(x: Float[Array, 'batch height width channels'], name: str) -> Float[Array, 'batch height width channels']:
    """CELU of the group norm, in groups of 16 channels, or one group of fewer; inside a compact module, which gets its `name`d
    parameters.
    """
    norm = nn.GroupNorm(max(1, x.shape[-1] // 16), epsilon=1e-5, use_fast_variance=False, dtype=jnp.float32, name=name)
    return nn.celu(norm(x.astype(jnp.float32))).astype(x.dtype)


def _with_places(x):
    """Two more channels: row and column in [-0.5, 0.5], ends included; 1 on maps of one cell, as in the released code."""
    height, width = x.shape[1:3]
    rows, columns = (jnp.linspace(-0.5, 0.5, side) if side > 1 else jnp.ones(1) for side in (height, width))
    places = jnp.stack(jnp.meshgrid(rows, columns, indexing='ij'), axis=-1).astype(x.dtype)
    return jnp.concatenate([x, jnp.broadcast_to(places[None], (len(x), height, width, 2))], axis=-1)
