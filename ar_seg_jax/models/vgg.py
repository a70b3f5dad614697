"""The VGG-like network of IIC."""

from collections.abc import Mapping
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Normalisation

Geometry = Literal['aligned', 'paper']

_LAYERS = ((1, 1), (2, 1), (4, 1), (4, 1), (8, 2), (8, 2))  # width, in shares of the first, and dilation
_POOLED_AFTER = 1
_HALF_CELL = 0.5  # pooling joins pixels 2i and 2i + 1


class VGG(nn.Module):
    """Six 3x3 convolutions, each with batch norm and ReLU, and a max pool after the second (IIC's code, `net10a`).

    Widths are `channels` times 1, 2, 4, 4, 8, 8, with 64 in IIC; the last two convolutions are dilated by 2. No convolution has
    a bias, nor have the heads, which are 1x1 convolutions. Weights begin Kaiming-normal.

    `geometry` is where cells are taken to be. 'aligned': cell i covers pixels 2i and 2i + 1, and maps have half the size of the
    image. Other models call it 'centred', since their cells are centred at pixels, and these are centred between two.

    'paper' is IIC's code. Its dilated convolutions are padded by 1 and not 2, which loses two cells on every side. Its heads are
    1x1 convolutions padded by 1, which adds a ring of cells whose logits are 0 and whose scores are 1/K. These maps, two cells
    smaller than half of the image, are stretched over all of it, which moves things by up to two pixels at the borders.

    IIC's batch norm takes the statistics of the images on one GPU, here they are those of the whole batch.
    """

    heads: Mapping[str, int]
    channels: int
    geometry: Geometry
    dtype: layers.Precision

    output_stride = 2
    normalisation = Normalisation()

    def __post_init__(self):
        if not 1 <= self.channels <= 1024:
            raise UserError(f'model.channels is 1 to 1024, found {self.channels}')
        super().__post_init__()

    @property
    def reach(self) -> int | None:
        """See `interfaces.Model`: the convolutions before the pool, those after it, and two pixels to the cells that a pixel is
        interpolated from. The paper's stretching depends on the size of the image."""
        return None if self.geometry == 'paper' else 2 + self.output_stride * (1 + 1 + 2 + 2) + 2

    @property
    def first_cell(self) -> float | None:
        """See `interfaces.Model`."""
        return None if self.geometry == 'paper' else _HALF_CELL

    @nn.compact
    def __call__(self, image: Float[Array, 'batch height width channels'], *, train: bool = False):
        """See `interfaces.Model`."""
        x = image.astype(self.dtype)
        for index, (width, dilation) in enumerate(_LAYERS):
            padding = 1 if self.geometry == 'paper' else dilation
            x = _Conv(width * self.channels, padding, dilation, self.dtype, name=f'conv_{index}')(x)
            x = layers.batch_norm(train, momentum=0.9, dtype=self.dtype, name=f'norm_{index}')(x)
            x = nn.relu(x)
            if index == _POOLED_AFTER:
                beyond = [(0, 0 if self.geometry == 'paper' else side % 2) for side in x.shape[1:3]]
                x = layers.max_pool(x, 2, 2, beyond)
        if self.geometry == 'paper':
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        heads = {
            name: nn.Dense(width, use_bias=False, kernel_init=layers.kaiming, dtype=self.dtype, name=name)(x).astype(jnp.float32)
            for name, width in self.heads.items()
        }
        return {'features': x, **heads}

    @nn.nowrap
    def to_pixels(self, maps: Float[Array, 'batch map_height map_width channels'], height: int, width: int):
        """See `interfaces.Model`."""
        if self.geometry == 'paper':
            return jax.image.resize(maps, (maps.shape[0], height, width, maps.shape[-1]), 'linear', antialias=False)
        return layers.upsample(maps, self.output_stride, height, width, first=self.first_cell)


class _Conv(nn.Module):
    """A 3x3 convolution without a bias."""

    features: int
    padding: int
    dilation: int
    dtype: layers.Dtype

    @nn.compact
    def __call__(self, x):
        kernel = self.param('kernel', layers.kaiming, (3, 3, x.shape[-1], self.features))
        padding = ((self.padding, self.padding),) * 2
        return layers.convolve(x, kernel.astype(self.dtype), padding, dilation=self.dilation)
