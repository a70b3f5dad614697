"""What a scene looks like without its objects: the autoencoder AE-NE, and one learned image for a camera that stands still."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

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
_LARGE = 200  # pixels of the longer side from which on strides are larger
# By how many layers come to one cell: channels of the layers of the encoder, the last of which is the latent, and of those of the
# generator after it. Six and seven are those for squares of 64 and of 128 pixels, five those for videos of 200 x 320.
_CHANNELS: Mapping[tuple[Kind, int], tuple[tuple[int, ...], tuple[int, ...]]] = {
    ('simple', 5): ((64, 160, 160, 32, _LATENT), (32, 256, 256, 144, 4)),
    ('complex', 5): ((64, 160, 160, 16, _LATENT), (16, 640, 640, 144, 4)),
    ('simple', 6): ((64, 160, 320, 160, 32, _LATENT), (32, 256, 512, 256, 144, 4)),
    ('complex', 6): ((64, 160, 320, 160, 16, _LATENT), (16, 640, 1280, 640, 144, 4)),
    ('simple', 7): ((64, 160, 320, 160, 160, 32, _LATENT), (32, 256, 256, 512, 256, 144, 4)),
    ('complex', 7): ((64, 320, 640, 640, 320, 16, _LATENT), (16, 320, 640, 1280, 640, 144, 4)),
}


def background(kind: Kind, size: tuple[int, int], dtype: layers.Dtype) -> 'Autoencoder | LearnedImage':
    """The network of this kind for images of this height and width. UserError for a size that has no such autoencoder."""
    height, width = size
    if kind == 'image':
        return LearnedImage(height, width)
    count = len(layers_to_one_cell(height, width))
    if (kind, count) not in _CHANNELS:
        raise UserError(
            f'method.background {kind!r} has 5 to 7 layers down to one cell, and images of {width} x {height} pixels '
            f"(method.image_size) need {count}; choose another size, such as 64, 128 or (200, 320), or 'image' for scenes with a "
            'single background'
        )
    return Autoencoder(*_CHANNELS[kind, count], dtype)


class Layer(NamedTuple):
    """A convolution of the encoder, of rows and columns, and what its transposed counterpart pads, so that it comes to as many
    cells as there were."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    output_padding: tuple[int, int]


def layers_to_one_cell(height: int, width: int) -> list[Layer]:
    """Those of the encoder for images of this height and width, until rows and columns, each by itself, have come to one cell.

    k5 s2 p2 as long as a side is above 5, k4 s2 p1 as long as it is above 3, and then all that is left. For images with 200
    pixels and more on their longer side, as in the released code, k5 s3 p2 as long as a side is above 5, and then all that is
    left. The released generator asks the height in place of the width for its k4, which makes a difference only to small images
    that are not square; here it mirrors the encoder.
    """
    large, found = max(height, width) >= _LARGE, []
    while (height, width) != (1, 1):
        rows, columns = (_side(cells, large) for cells in (height, width))
        found.append(Layer(*zip(rows[:4], columns[:4], strict=True)))
        height, width = rows[4], columns[4]
    return found


def _side(cells: int, large: bool) -> tuple[int, int, int, int, int]:
    """Size, stride and padding of a layer along one side of so many cells, the output padding of its counterpart, and the cells
    that are left."""
    size, stride, padding = (5, 3 if large else 2, 2) if cells > 5 else (4, 2, 1) if cells > 3 and not large else (cells, 1, 0)
    steps, beyond = divmod(cells + 2 * padding - size, stride)
    return size, stride, padding, beyond, 1 + steps


class Autoencoder(nn.Module):
    """AE-NE (Sauvalle and de La Fortelle 2023): images through 16 numbers to their backgrounds, and the error to expect.

    encoder: channels of the convolutions, one for each of `layers_to_one_cell` of the image. generator: those of the transposed
    ones, which mirror them. Each layer sees two more channels, its rows and columns (`_with_places`), has no bias, and is
    followed by `normalised`; only the generator's last one has a sigmoid, times 255.

    Computed in `dtype`, parameters and what it gives are float32.
    """

    encoder: tuple[int, ...]
    generator: tuple[int, ...]
    dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(self, image: Images) -> Predicted:
        down = layers_to_one_cell(*image.shape[1:3])
        x = image.astype(self.dtype)
        for index, (channels, layer) in enumerate(zip(self.encoder, down, strict=True)):
            conv = nn.Conv(
                channels,
                layer.size,
                layer.stride,
                [(padding, padding) for padding in layer.padding],
                use_bias=False,
                dtype=self.dtype,
                kernel_init=initializers.uniform,
                name=f'encoder_{index}',
            )
            x = normalised(conv(_with_places(x)), f'encoder_norm_{index}')
        for index, (channels, layer) in enumerate(zip(self.generator, reversed(down), strict=True)):
            x = TransposedConv(channels, *layer, dtype=self.dtype, name=f'generator_{index}')(_with_places(x))
            if index < len(down) - 1:
                x = normalised(x, f'generator_norm_{index}')
        return 255 * nn.sigmoid(x.astype(jnp.float32))


class LearnedImage(nn.Module):
    """The same background for all images, as a parameter: enough where neither camera nor light moves.

    A deviation from the paper, for small budgets: the simple AE-NE for 64 pixels computes 12 times as much as a small model of
    the foreground. The parameter, (height, width, 4), is what the sigmoid is taken of; 0 is grey.
    """

    height: int
    width: int

    @nn.compact
    def __call__(self, image: Images) -> Predicted:
        logits = self.param('logits', nn.initializers.zeros, (self.height, self.width, 4))
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
