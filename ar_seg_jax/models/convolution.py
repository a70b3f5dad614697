"""The convolution before a normalisation."""

import flax.linen as nn
from jaxtyping import Array, Float

from ar_seg_jax import layers


class Conv(nn.Module):
    """A convolution without a bias, which a normalisation after it would take away, padded evenly by (`size` - 1) // 2 cells.

    Where that leaves less than one cell, as of a single one under an even kernel with a stride, the far sides are padded further.
    `lowering`: see `layers.convolve`.
    """

    features: int
    size: int
    stride: int
    dilation: int
    kernel_init: nn.initializers.Initializer
    dtype: layers.Dtype
    lowering: layers.Lowering = 'auto'

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch out_height out_width {self.features}']:
        kernel = self.param('kernel', self.kernel_init, (self.size, self.size, x.shape[-1], self.features))
        half, span = (self.size - 1) // 2 * self.dilation, (self.size - 1) * self.dilation + 1
        rows, columns = ((half, max(half, span - half - side)) for side in x.shape[1:3])
        return layers.convolve(
            x.astype(self.dtype), kernel.astype(self.dtype), (rows, columns), self.stride, self.dilation, lowering=self.lowering
        )
