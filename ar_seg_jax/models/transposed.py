"""Transposed convolution, as the convolution of its phases where that is faster."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.models import initializers

Numbers = int | Sequence[int]  # of both axes alike, or of rows and columns


class TransposedConv(nn.Module):
    """A transposed convolution (torch.nn.ConvTranspose2d), drawn as torch does.

    Cell i of the input adds x[i] @ kernel[t] to the output pixels `stride` * i - `padding` + t, t = 0 ... `size` - 1, along rows
    and columns, for which these numbers may differ. A side of n cells becomes (n - 1) * stride - 2 * padding + size +
    output_padding pixels. The kernel is (size, size, inputs, features); that of torch, (inputs, features, size, size), with its
    axes moved. Computed in `dtype`; parameters are float32.
    """

    features: int
    size: Numbers
    stride: Numbers
    padding: Numbers = 0
    output_padding: Numbers = 0
    use_bias: bool = False
    dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch out_height out_width {self.features}']:
        size = _both(self.size)
        kernel = self.param('kernel', initializers.uniform_transposed, (*size, x.shape[-1], self.features))
        x = transposed(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.padding, self.output_padding)
        if self.use_bias:
            bias = self.param('bias', initializers.uniform_bias(self.features * math.prod(size)), (self.features,))
            x = x + bias.astype(self.dtype)[None, None, None]
        return x


def transposed(
    x: Float[Array, 'batch height width channels'],
    kernel: Float[Array, 'rows columns channels features'],
    stride: Numbers,
    padding: Numbers,
    output_padding: Numbers = 0,
    lowering: layers.Lowering = 'auto',
) -> Float[Array, 'batch out_height out_width features']:
    """The map of `TransposedConv`, without a bias.

    'patches': the pixels `stride` * q + r of each phase r are an ordinary convolution with every `stride`-th tap of the kernel.
    All phases together are one convolution with as many times the features as rows and columns have phases, whose outputs are put
    beside each other: on CPU, where XLA's gradient of transposed convolutions is slow, this makes a training step several times
    as fast. 'convolution' is left to the backend. 'auto' takes patches on CPU and convolutions elsewhere.
    """
    if lowering == 'auto':
        lowering = 'patches' if layers.platform() == 'cpu' else 'convolution'
    sizes, strides, paddings, beyond = kernel.shape[:2], _both(stride), _both(padding), _both(output_padding)
    if lowering == 'convolution':
        before = [size - 1 - padding for size, padding in zip(sizes, paddings, strict=True)]
        return jax.lax.conv_general_dilated(
            x,
            kernel[::-1, ::-1],
            (1, 1),
            [(first, first + more) for first, more in zip(before, beyond, strict=True)],
            lhs_dilation=strides,
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )
    axes = [_axis(*numbers) for numbers in zip(x.shape[1:3], sizes, strides, paddings, beyond, strict=True)]
    taps, (rows, columns) = [axis.taps for axis in axes], axes
    whole = jnp.pad(kernel, (*((0, axis.taps * stride - size) for axis, stride, size in zip(axes, strides, sizes, strict=True)),
                             (0, 0), (0, 0)))  # fmt: skip
    whole = whole.reshape(taps[0], strides[0], taps[1], strides[1], *kernel.shape[2:])[::-1, :, ::-1]
    # Phase r begins with the tap of number (r + padding) modulo the stride. Gathered taps would have a scattered gradient, which
    # XLA of jax 0.11 and 0.12 fails to compile in bfloat16.
    whole = jnp.roll(whole, [-padding for padding in paddings], (1, 3))
    whole = whole.transpose(0, 2, 4, 1, 3, 5).reshape(*taps, x.shape[-1], -1)
    phases = layers.convolve(x, whole, (rows.pads, columns.pads), lowering='patches')
    phases = phases.reshape(*phases.shape[:3], *strides, -1)
    bands = [phases[:, first : first + rows.count, :, row] for row, first in enumerate(rows.firsts)]
    x = jnp.stack(
        [
            jnp.stack([band[:, :, first : first + columns.count, column] for column, first in enumerate(columns.firsts)], 3)
            for band in bands
        ],
        2,
    )
    x = x.reshape(x.shape[0], rows.count * strides[0], columns.count * strides[1], -1)
    return x[:, : rows.pixels, : columns.pixels]


class _Axis(NamedTuple):
    """How pixels of one axis come from cells.

    Pixel stride * q + r gets tap stride * m + rest of cell q + first - m, for m = 0 ... taps - 1, where first and rest are the
    quotient and the remainder of (r + padding) / stride. There are so many pixels, and so many of the first phase, which has the
    most. pads: cells that are missing on either side.
    """

    taps: int
    firsts: np.ndarray
    pixels: int
    count: int
    pads: tuple[int, int]


def _axis(cells: int, size: int, stride: int, padding: int, output_padding: int) -> _Axis:
    taps = -(-size // stride)
    firsts = (np.arange(stride) + padding) // stride
    pixels = (cells - 1) * stride - 2 * padding + size + output_padding
    count = -(-pixels // stride)
    return _Axis(taps, firsts, pixels, count, (taps - 1, max(0, int(firsts[-1]) + count - cells)))


def _both(numbers: Numbers) -> tuple[int, int]:
    """Of rows and columns."""
    rows, columns = (numbers, numbers) if isinstance(numbers, int) else numbers
    return rows, columns
