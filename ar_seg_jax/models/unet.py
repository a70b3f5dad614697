"""The U-Net of AST, whose maps have the resolution of the image."""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Normalisation
from ar_seg_jax.models import initializers
from ar_seg_jax.models.convolution import Conv
from ar_seg_jax.models.transposed import TransposedConv

Maps = Float[Array, 'batch map_height map_width channels']


class UNet(nn.Module):
    """U-Net (AST supplement, Table 3), whose features are what its last 1x1 convolution reads; see `interfaces.Model`.

    A convolution, a block down for each halving of the resolution, one more convolution, and as many blocks up, each of which
    reads the last map and that of the same size on the way down. A convolution of the last map and of the first one makes the
    features, to which a convolution of them is added, without normalisation or activation, as in the released code; after all
    other convolutions come batch norm and CELU. None has a bias, nor have the heads, which together are the last 1x1
    convolution. 22,251,432 parameters with heads of 44 channels together.

    Of a side with an odd number of cells the half is rounded down, and on the way up it gets that number again, as in the
    released code. There sides have at least 2^levels pixels; here a side of one cell stays one.

    widths: channels of the first map and after each block down. (80, 128, 192, 256, 256, 256) is that of the supplement, for
    images of less than 200 pixels; (48, 64, 96, 128, 128, 256, 256) that of the released code for larger ones. width: channels of
    the features; 0 is as many as those of all heads together, as in AST.

    Computation is in `dtype`; parameters, batch statistics and heads are float32. Images of any height and width.
    """

    heads: Mapping[str, int]
    widths: Sequence[int]
    width: int
    dtype: layers.Precision

    output_stride = 1
    first_cell = 0.0
    normalisation = Normalisation()

    def __post_init__(self):
        self.widths = checked_widths(self.widths, at_least=2)
        if self.width < 0:
            raise UserError(f'model.width is at least 0, found {self.width}')
        super().__post_init__()

    @property
    def tile_stride(self) -> int:
        """See `interfaces.Model`."""
        return 2 ** (len(self.widths) - 1)

    @property
    def reach(self) -> int:
        """See `interfaces.Model`: three convolutions of pixels; in each block down half a cell and one more, of the coarser map;
        in the middle one cell; in each block up two."""
        strides = [2**level for level in range(1, len(self.widths))]
        down, up = sum(stride // 2 + stride for stride in strides), sum(2 * stride for stride in strides)
        return 3 + down + self.tile_stride + up

    @nn.compact
    def __call__(
        self, image: Float[Array, 'batch height width channels'], *, train: bool = False
    ) -> Mapping[str, Float[Array, 'batch height width _']]:
        """In training batch statistics move."""
        features = self.width or sum(self.heads.values())
        if not features:
            raise UserError('model.width is 0, which is as many as the heads have; this method wants none, so choose another')
        first, *others = self.widths
        x = Unit(first, dtype=self.dtype, name='first')(image, train=train)
        maps = [x]
        for level, width in enumerate(others, start=1):
            x = Down(width, self.dtype, name=f'down_{level}')(x, train=train)
            maps.append(x)
        x = Unit(x.shape[-1], dtype=self.dtype, name='centre')(x, train=train)
        for level in reversed(range(1, len(maps))):
            finer = maps[level - 1]
            x = jnp.concatenate([x, maps[level]], axis=-1)
            x = x + Unit(x.shape[-1], dtype=self.dtype, name=f'up_{level}_residual')(x, train=train)
            x = Up(finer.shape[-1], self.dtype, name=f'up_{level}')(x, *finer.shape[1:3], train=train)
        x = Unit(features, dtype=self.dtype, name='last')(jnp.concatenate([x, maps[0]], axis=-1), train=train)
        x = x + _conv(features, 3, 1, self.dtype, name='last_residual')(x)
        return {'features': x, **heads_of(x, self.heads, self.dtype)}

    @nn.nowrap
    def to_pixels(
        self, maps: Float[Array, 'batch {height} {width} channels'], height: int, width: int
    ) -> Float[Array, 'batch {height} {width} channels']:
        """See `interfaces.Model`."""
        return maps.astype(jnp.float32)


class Unit(nn.Module):
    """A convolution, padded evenly and without a bias, batch norm, and CELU."""

    features: int
    size: int = 3
    stride: int = 1
    dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Maps, *, train: bool) -> Float[Array, 'batch _ _ {self.features}']:
        x = _conv(self.features, self.size, self.stride, self.dtype, name='conv')(x)
        return _activated(x, train, self.dtype)


class Down(nn.Module):
    """To half the resolution: a 4x4 convolution with a stride of 2, and a residual 3x3 convolution.

    Cell i is centred between the cells 2 * i and 2 * i + 1 of the finer map.
    """

    features: int
    dtype: layers.Dtype

    @nn.compact
    def __call__(self, x: Maps, *, train: bool) -> Float[Array, 'batch _ _ {self.features}']:
        x = Unit(self.features, 4, 2, self.dtype, name='strided')(x, train=train)
        return x + Unit(self.features, dtype=self.dtype, name='residual')(x, train=train)


class Up(nn.Module):
    """To twice the resolution: a transposed 4x4 convolution with a stride of 2, batch norm, and CELU.

    `height` and `width` are those of the map of that resolution on the way down. Where they are odd, zeros beyond the coarser map
    give the last cell.
    """

    features: int
    dtype: layers.Dtype

    @nn.compact
    def __call__(
        self, x: Maps, height: int, width: int, *, train: bool
    ) -> Float[Array, 'batch {height} {width} {self.features}']:
        beyond = [(0, side > 2 * cells) for side, cells in zip((height, width), x.shape[1:3], strict=True)]
        x = jnp.pad(x, ((0, 0), *beyond, (0, 0)))
        x = TransposedConv(self.features, size=4, stride=2, padding=1, dtype=self.dtype, name='conv')(x)
        return _activated(x[:, :height, :width], train, self.dtype)


def heads_of(
    x: Maps, heads: Mapping[str, int], dtype: layers.Dtype
) -> Mapping[str, Float[Array, 'batch map_height map_width _']]:
    """Linear maps without a bias, in a compact module."""
    return {
        name: nn.Dense(width, use_bias=False, kernel_init=initializers.uniform, dtype=dtype, name=name)(x).astype(jnp.float32)
        for name, width in heads.items()
    }


def checked_widths(widths: Sequence[int], at_least: int) -> tuple[int, ...]:
    """UserError unless there are so many, all of them positive."""
    if len(widths) < at_least or min(widths) < 1:
        raise UserError(f'model.widths are at least {at_least} numbers of channels, all of them positive; found {tuple(widths)}')
    return tuple(widths)


def _conv(features: int, size: int, stride: int, dtype: layers.Dtype, name: str) -> Conv:
    """Drawn as torch does. XLA's convolutions take, forward and backward on CPU, as long as products of patches for small maps of
    many channels, and half as long for large ones: 0.06 against 0.13 s for 4 x 64 x 64 x 80 to 128 channels, 4x4, stride 2."""
    return Conv(features, size, stride, 1, initializers.uniform, dtype, lowering='convolution', name=name)


def _activated(x, train: bool, dtype: layers.Dtype):
    """Batch norm and CELU, in a compact module."""
    norm = layers.batch_norm(train, momentum=0.9, dtype=dtype, name='norm')
    return nn.celu(norm(x))
