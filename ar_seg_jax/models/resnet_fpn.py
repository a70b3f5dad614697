"""ResNet-18 with a feature pyramid: the network of PiCIE."""

from collections.abc import Mapping
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Normalisation
from ar_seg_jax.models import normalisations, resnet

Geometry = Literal['centred', 'paper']

_STRIDE = 4  # pixels, from one cell of the features to the next
_LARGEST_STRIDE = 32  # that of the last stage


class ResNetFPN(nn.Module):
    """ResNet-18 and a top-down path that sums 1x1 convolutions of its stages (Cho et al. 2021, PiCIE); see `interfaces.Model`.

    Each of the stages res2 to res5, of stride 4, 8, 16 and 32, is projected to `width` channels, with a bias. From the coarsest
    on, the sum so far is doubled by bilinear interpolation and the next projection added; there is no other convolution, no
    normalisation and no ReLU. The features are the last sum, of stride 4. PiCIE divides them by their norm where it compares
    them, which is left to the method. 11,299,904 parameters for images of three channels, with the published widths.

    `geometry` is where cells are taken to be. 'centred': where they are; cell i of a map of stride s looks at pixel s * i.
    'paper': (s - 1) / 2 pixels further down and to the right, as the half-pixel interpolation of the released code takes them,
    which displaces a level of the pyramid against the next finer one by a quarter of its cell, and what comes out by 1.5 pixels.
    Where sides are no multiples of 32 that code also stretches each map to the size of the next one; here all cells stay where
    they are, so that what is found does not depend on where an image ends.

    width: channels of the features, 128 in the paper. base_channels: of the first stage, 64 in the paper; fewer make a smaller
    network of the same form. normalise: the input by its name in `normalisations`; ImageNet's for weights trained there.

    Computation is in `dtype`; parameters, batch statistics and heads are float32. Images of any height and width.
    """

    heads: Mapping[str, int]
    width: int
    base_channels: int
    geometry: Geometry
    normalise: normalisations.Name
    dtype: layers.Precision

    output_stride = _STRIDE
    tile_stride = _LARGEST_STRIDE

    def __post_init__(self):
        for name, value in (('width', self.width), ('base_channels', self.base_channels)):
            if value < 1:
                raise UserError(f'model.{name} is at least 1, found {value}')
        super().__post_init__()

    @property
    def normalisation(self) -> Normalisation:
        """Of the input, see `interfaces.Model`."""
        return normalisations.NORMALISATIONS[self.normalise]

    @property
    def reach(self) -> int:
        """See `interfaces.Model`: that of the last stage, and of the interpolation from it.

        Between two levels this looks less than one cell of the coarser one further, and half a cell where the finer cells are at
        the centres of coarser ones and in the middle between them.
        """
        cell = 1 if self.geometry == 'paper' else 0.5
        between_levels = sum(int(cell * stride) for stride in (8, 16, 32))
        to_pixels = _STRIDE + (1 if self.geometry == 'paper' else -1)
        return resnet.strided(self.base_channels, self.dtype).reach + between_levels + to_pixels

    @property
    def first_cell(self) -> float:
        """See `interfaces.Model`."""
        return self._first(_STRIDE)

    def setup(self):
        self.resnet = resnet.strided(self.base_channels, self.dtype)
        self.lateral = {
            f'res{stage + 2}': _projection(self.width, self.base_channels * 2**stage, self.dtype) for stage in range(4)
        }
        self.head = {name: layers.Pointwise(width, self.dtype, name=name) for name, width in self.heads.items()}

    def __call__(
        self, image: Float[Array, 'batch height width channels'], *, train: bool = False
    ) -> Mapping[str, Float[Array, 'batch map_height map_width _']]:
        stages = self.resnet(image.astype(self.dtype), train=train)
        *finer, x = (project(stage) for project, stage in zip(self.lateral.values(), stages, strict=True))
        for lateral in reversed(finer):
            x = layers.upsample(x, 2, *lateral.shape[1:3], first=self._first(2)).astype(self.dtype) + lateral
        return {'features': x, **{name: head(x).astype(jnp.float32) for name, head in self.head.items()}}

    @nn.nowrap
    def to_pixels(
        self, maps: Float[Array, 'batch map_height map_width channels'], height: int, width: int
    ) -> Float[Array, 'batch {height} {width} channels']:
        """See `interfaces.Model`."""
        return layers.upsample(maps, _STRIDE, height, width, first=self.first_cell)

    @nn.nowrap
    def _first(self, stride: int) -> float:
        """Where the first cell is taken to be, in finer cells of which there are `stride` to a cell."""
        return (stride - 1) / 2 if self.geometry == 'paper' else 0.0


def _projection(features: int, channels: int, dtype: layers.Dtype) -> nn.Dense:
    """A 1x1 convolution of so many channels, drawn as torch does by default: uniform between +-1/sqrt(channels)."""
    bound = channels**-0.5

    def drawn(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return nn.Dense(features, dtype=dtype, kernel_init=drawn, bias_init=drawn)
