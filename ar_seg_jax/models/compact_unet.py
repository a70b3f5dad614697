"""A U-Net of a million parameters with cells of four pixels, for AST on small machines."""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.interfaces import Normalisation
from ar_seg_jax.models.unet import Down, Unit, Up, checked_widths, heads_of

_STRIDE = 4  # pixels, from one cell of the features to the next
_LEVEL = 1  # of the maps on the way down, the one that has it


class CompactUNet(nn.Module):
    """A small U-Net whose features have a stride of 4 pixels; in no paper. See `interfaces.Model`.

    Its parts are those of AST's U-Net: a 4x4 convolution with a stride of 2, blocks down, a convolution in the middle. Blocks up
    differ: a transposed convolution, a 1x1 convolution of that and of the map of the same size on the way down, and a residual
    3x3 convolution. They end at a stride of 4. No convolution has a bias, nor have the heads; batch norm and CELU come after all
    others. 1,027,488 parameters without heads, with the default widths.

    widths: channels of the first map, of stride 2, and after each block down; maps on the way up have those of the same size.

    Cell i is centred between the pixels 4 * i + 1 and 4 * i + 2. Computation is in `dtype`; parameters, batch statistics and
    heads are float32. Images of any height and width.
    """

    heads: Mapping[str, int]
    widths: Sequence[int]
    dtype: layers.Precision

    output_stride = _STRIDE
    first_cell = (_STRIDE - 1) / 2
    normalisation = Normalisation()

    def __post_init__(self):
        self.widths = checked_widths(self.widths, at_least=2)
        super().__post_init__()

    @property
    def tile_stride(self) -> int:
        """See `interfaces.Model`."""
        return 2 ** len(self.widths)

    @property
    def reach(self) -> int:
        """See `interfaces.Model`: one pixel of the first convolution; in each block down half a cell and one more, of the coarser
        map; in the middle one cell; in each block up one of the coarser and one of the finer map. A pixel is interpolated from
        cells that end up to five pixels beside it."""
        strides = [2**level for level in range(2, len(self.widths) + 1)]
        down = sum(stride // 2 + stride for stride in strides)
        up = sum(stride + stride // 2 for stride in strides if stride > _STRIDE)
        return 1 + down + self.tile_stride + up + 5

    @nn.compact
    def __call__(
        self, image: Float[Array, 'batch height width channels'], *, train: bool = False
    ) -> Mapping[str, Float[Array, 'batch map_height map_width _']]:
        """In training batch statistics move."""
        first, *others = self.widths
        x = Unit(first, 4, 2, self.dtype, name='first')(image, train=train)
        maps = [x]
        for level, width in enumerate(others, start=1):
            x = Down(width, self.dtype, name=f'down_{level}')(x, train=train)
            maps.append(x)
        x = Unit(x.shape[-1], dtype=self.dtype, name='centre')(x, train=train)
        for level in reversed(range(_LEVEL, len(maps) - 1)):
            *_, height, width, features = maps[level].shape
            x = Up(features, self.dtype, name=f'up_{level}')(x, height, width, train=train)
            x = jnp.concatenate([x, maps[level]], axis=-1)
            x = Unit(features, 1, dtype=self.dtype, name=f'joined_{level}')(x, train=train)
            x = x + Unit(features, dtype=self.dtype, name=f'residual_{level}')(x, train=train)
        return {'features': x, **heads_of(x, self.heads, self.dtype)}

    @nn.nowrap
    def to_pixels(
        self, maps: Float[Array, 'batch map_height map_width channels'], height: int, width: int
    ) -> Float[Array, 'batch {height} {width} channels']:
        """See `interfaces.Model`."""
        return layers.upsample(maps, _STRIDE, height, width, first=self.first_cell)
