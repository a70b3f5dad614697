"""Pixels as they are: the colours of an image, as a model without parameters."""

from collections.abc import Mapping
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.interfaces import Normalisation

Relative = Literal['none', 'mean']

_DARKEST = 1 / 255  # mean of a channel; darker ones are divided by this


class Colours(nn.Module):
    """The colours of each pixel; see `interfaces.Model`. Cells are pixels.

    relative: 'none' takes colours as they are. 'mean' divides each channel by twice its mean over the image, which makes images
        of one scene under different lights alike (von Kries' scaling, if all is grey on average): right for microscopes, wrong
        where what fills an image is what it is about, such as aerial images of nothing but fields. The mean is that of what is
        seen: in training of a crop, which should not be much smaller than the image.
    """

    heads: Mapping[str, int]
    relative: Relative
    dtype: layers.Precision

    output_stride = 1
    first_cell = 0.0
    normalisation = Normalisation()

    @property
    def tiled(self) -> bool:
        """See `interfaces.Model`."""
        return self.relative == 'none'

    @property
    def reach(self) -> int | None:
        """See `interfaces.Model`."""
        return 0 if self.relative == 'none' else None

    @nn.compact
    def __call__(
        self, image: Float[Array, 'batch height width channels'], *, train: bool = False
    ) -> Mapping[str, Float[Array, 'batch height width _']]:
        if self.relative == 'mean':
            image = image / (2 * jnp.maximum(image.mean((1, 2), keepdims=True), _DARKEST))
        heads = {name: nn.Dense(width, dtype=self.dtype, name=name)(image) for name, width in self.heads.items()}
        return {'features': image, **{name: found.astype(jnp.float32) for name, found in heads.items()}}

    @nn.nowrap
    def to_pixels(
        self, maps: Float[Array, 'batch map_height map_width channels'], height: int, width: int
    ) -> Float[Array, 'batch {height} {width} channels']:
        """See `interfaces.Model`."""
        return maps
