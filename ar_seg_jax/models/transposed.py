"""Transposed convolution, as the convolution of its phases where that is faster."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.models import initializers


class TransposedConv(nn.Module):
    """A transposed convolution (torch.nn.ConvTranspose2d), drawn as torch does.

    Cell i of the input adds x[i] @ kernel[t] to the output pixels `stride` * i - `padding` + t, t = 0 ... `size` - 1, along rows
    and columns alike. A side of n cells becomes (n - 1) * stride - 2 * padding + size + output_padding pixels. The kernel is
    (size, size, inputs, features); that of torch, (inputs, features, size, size), with its axes moved. Computed in `dtype`;
    parameters are float32.
    """

    features: int
    size: int
    stride: int
    padding: int = 0
    output_padding: int = 0
    use_bias: bool = False
    dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch out_height out_width {self.features}']:
        kernel = self.param('kernel', initializers.uniform_transposed, (self.size, self.size, x.shape[-1], self.features))
        x = transposed(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.padding, self.output_padding)
        if self.use_bias:
            bias = self.param('bias', initializers.uniform_bias(self.features * self.size**2), (self.features,))
            x = x + bias.astype(self.dtype)[None, None, None]
        return x


def transposed(
    x: Float[Array, 'batch height width channels'],
    kernel: Float[Array, 'size size channels features'],
    stride: int,
    padding: int,
    output_padding: int = 0,
    lowering: layers.Lowering = 'auto',
) -> Float[Array, 'batch out_height out_width features']:
    """The map of `TransposedConv`, without a bias.

    'patches': the pixels `stride` * q + r of each phase r are an ordinary convolution with every `stride`-th tap of the kernel.
    All phases together are one convolution with stride^2 times the features, whose outputs are put beside each other: on CPU,
    where XLA's gradient of transposed convolutions is slow, this makes a training step several times as fast. 'convolution' is
    left to the backend. 'auto' takes patches on CPU and convolutions elsewhere.
    """
    if lowering == 'auto':
        lowering = 'patches' if layers.platform() == 'cpu' else 'convolution'
    size = kernel.shape[0]
    if lowering == 'convolution':
        before = size - 1 - padding
        return jax.lax.conv_general_dilated(
            x,
            kernel[::-1, ::-1],
            (1, 1),
            [(before, before + output_padding)] * 2,
            lhs_dilation=(stride, stride),
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )
    # Pixel stride * q + r gets tap stride * m + rest of cell q + first - m, for m = 0 ... taps - 1, where first and rest are the
    # quotient and the remainder of (r + padding) / stride.
    taps = -(-size // stride)
    firsts, rests = np.divmod(np.arange(stride) + padding, stride)
    whole = jnp.pad(kernel, ((0, taps * stride - size),) * 2 + ((0, 0),) * 2)
    whole = whole.reshape(taps, stride, taps, stride, *kernel.shape[2:])[::-1, :, ::-1]
    whole = whole[:, rests][:, :, :, rests].transpose(0, 2, 4, 1, 3, 5).reshape(taps, taps, x.shape[-1], -1)
    sides = [(cells - 1) * stride - 2 * padding + size + output_padding for cells in x.shape[1:3]]
    counts = [-(-side // stride) for side in sides]  # pixels of the first phase, which has the most
    pads = [(taps - 1, max(0, int(firsts[-1]) + count - cells)) for count, cells in zip(counts, x.shape[1:3], strict=True)]
    phases = layers.convolve(x, whole, tuple(pads), lowering='patches')
    phases = phases.reshape(*phases.shape[:3], stride, stride, -1)
    rows = [phases[:, first : first + counts[0], :, row] for row, first in enumerate(firsts)]
    x = jnp.stack(
        [jnp.stack([row[:, :, first : first + counts[1], column] for column, first in enumerate(firsts)], 3) for row in rows], 2
    )
    return x.reshape(x.shape[0], counts[0] * stride, counts[1] * stride, -1)[:, : sides[0], : sides[1]]
