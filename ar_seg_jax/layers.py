"""Layers that take the ordering as an argument, the convolution they share, and what networks need besides: pooling, batch
statistics, dropout, upsampling, and the kind of device that a program is for.

Feature maps are in the frame of the ordering (`orderings.into_frame`), channels last. The model turns them once on entry
and once on exit; a layer only turns its weights. `ordering=None` is the full, centred layer of inference.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float

from ar_seg_jax import orderings, parallel, winograd
from ar_seg_jax.errors import UserError
from ar_seg_jax.orderings import Ordering

Dtype = jax.typing.DTypeLike
Precision = Literal['float32', 'bfloat16', 'float64']  # that models can compute in, the last one where JAX has it
Lowering = Literal['auto', 'convolution', 'patches']
# What convolutions see beyond a map: zeros; its last rows and columns again; or nothing, what is inside standing for all of their
# taps (partial convolution, Liu et al. 2018: the sum over the taps inside, times how many taps there are for each of these).
Borders = Literal['zeros', 'replicate', 'partial']
xavier = nn.initializers.xavier_normal()
kaiming = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')  # as IIC draws all its convolutions

# From how many taps, channels on both sides, and positions on, what Winograd's products save on CPU is more than its maps cost.
_WINOGRAD_TAPS = 7  # in whose place it has four products
_WINOGRAD_CHANNELS = 32
_WINOGRAD_POSITIONS = 2048

_portable = contextvars.ContextVar('portable', default=False)


@contextlib.contextmanager
def for_any_platform() -> Iterator[None]:
    """What is traced inside can be compiled for any platform, and for images of symbolic size: `platform` is 'any'."""
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


def platform() -> str:
    """'cpu', 'gpu' or 'tpu', of the mesh in use (whose devices may be absent) or else of the default device; 'any' in what is
    traced `for_any_platform`."""
    if _portable.get():
        return 'any'
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device else jax.default_backend()


def convolve(
    x: Float[Array, 'batch height width channels'],
    kernel: Float[Array, 'rows columns channels features'],
    padding: tuple[tuple[int, int], tuple[int, int]],
    stride: int = 1,
    dilation: int = 1,
    taps: np.ndarray | None = None,
    lowering: Lowering = 'auto',
) -> Float[Array, 'batch out_height out_width features']:
    """Cross-correlation with zero padding ((top, bottom), (left, right)); only the kernel taps marked in `taps` count.

    'patches' gathers the shifted inputs of the marked taps and multiplies once: on CPU, where XLA's convolution
    gradients are slow, this doubles the speed of a training step and never multiplies a masked tap. 'convolution' masks
    the kernel and leaves the rest to the backend. 'auto' takes convolutions except on CPU, and there patches or, where most of
    3x3 taps count and maps are large and wide, `winograd`, which is up to twice as fast again. What a masked tap would see then
    has a weight of zero up to rounding, as it may in convolutions of other backends. In any case the gradient of a masked tap is
    exactly zero.
    """
    taps = np.ones(kernel.shape[:2], bool) if taps is None else taps
    if lowering == 'auto' and platform() == 'cpu':
        if _winograd_pays(x, kernel, stride, taps):
            return winograd.correlate(_pad(x, padding), _masked(kernel, taps), dilation)
        lowering = 'patches'
    if lowering != 'patches':
        return jax.lax.conv_general_dilated(
            x,
            _masked(kernel, taps),
            (stride, stride),
            padding,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )
    padded = _pad(x, padding)
    height, width = (length - (size - 1) * dilation for length, size in zip(padded.shape[1:3], taps.shape, strict=True))
    patches = [
        padded[:, row * dilation :, column * dilation :][:, :height:stride, :width:stride] for row, column in np.argwhere(taps)
    ]
    return jnp.concatenate(patches, axis=-1) @ _marked(kernel, taps).reshape(-1, kernel.shape[-1])


def _masked(kernel, taps: np.ndarray):
    return kernel if taps.all() else kernel * taps[:, :, None, None].astype(kernel.dtype)


def _marked(kernel, taps: np.ndarray):
    """The weights of the marked taps, one tap after the other. A run of taps is cut out, since XLA would copy what it gathers,
    and scatter the gradient."""
    places = np.flatnonzero(taps)
    first, last = places[0], places[-1]
    is_run = last - first + 1 == places.size
    return kernel.reshape(-1, *kernel.shape[2:])[slice(first, last + 1) if is_run else places]


def _winograd_pays(x, kernel, stride: int, taps: np.ndarray) -> bool:
    if taps.shape != (3, 3) or stride != 1 or x.dtype == jnp.bfloat16:
        return False
    wide = min(kernel.shape[2:]) >= _WINOGRAD_CHANNELS and math.prod(x.shape[:3]) >= _WINOGRAD_POSITIONS
    return wide and int(taps.sum()) >= _WINOGRAD_TAPS


def _pad(x, padding: Sequence[tuple[int, int]], **options: Any):
    return jnp.pad(x, ((0, 0), *padding, (0, 0)), **options)


def max_pool(
    x: Float[Array, 'batch height width channels'], size: int, stride: int, padding: Sequence[tuple[int, int]]
) -> Float[Array, 'batch _ _ channels']:
    """The largest of `size` x `size` cells, `stride` apart, on maps with a `padding` that counts nowhere.

    On CPU these are copies of the map, shifted against one another along one axis and then along the other: XLA's own windows
    take 7 to 30 times as long for the gradient (docs/performance.md). Cells of a window that are equal then share it, which
    elsewhere the first of them has alone.
    """
    if platform() not in ('cpu', 'any'):
        return nn.max_pool(x, (size, size), (stride, stride), padding)
    x = _pad(x, padding, constant_values=-jnp.inf)
    if platform() == 'any':  # padded before, since jax2onnx loses the padding of a pooling
        return nn.max_pool(x, window_shape=(size, size), strides=(stride, stride))
    for axis in (1, 2):
        cells = x.shape[axis] - size + 1
        shifted = (jax.lax.slice_in_dim(x, first, first + cells, stride, axis) for first in range(size))
        x = functools.reduce(jnp.maximum, shifted)
    return x


class Pointwise(nn.Module):
    """A 1x1 convolution, as the matrix product it is; its parameters are those of `nn.Dense`."""

    features: int
    dtype: Dtype

    def setup(self):
        self.dense = nn.Dense(self.features, dtype=self.dtype, kernel_init=xavier)
        nn.share_scope(self, self.dense)

    def __call__(self, x: Float[Array, '*positions channels']) -> Float[Array, '*positions features']:
        return self.dense(as_rows(x)).reshape(*x.shape[:-1], self.features)


class MaskedConv(nn.Module):
    """Convolution that reads the current pixel and earlier ones of an ordering, and nothing later.

    Weights are those of one ordinary `size` x `size` kernel in image orientation. Under an ordering they are turned into
    its frame and applied with the shift and the mask of `orderings.canonical_support`. Since a masked tap has no weight in
    the computation, each tap gets the gradient of just the views that used it. The supplement's `switch_gradients` also
    drops the gradient of a tap that only the *other* view masked; that is a limit of its two-convolution trick, and here an
    ablation (`methods.scans.Views`, common_taps_only). A tap that both views mask has a gradient of exactly zero; momentum of
    earlier steps moves it all the same, as in the paper's code, where the optimiser is not told to leave it (`keep_unused`).

    `borders` 'replicate' is for layers that are called without an ordering: with one, what is repeated may be a later pixel.
    'partial' keeps every ordering, since how many taps are inside says nothing about pixels.

    Raises UserError for an even `size`, or if `zigzag_shift` names no shift, and for an ordering where borders are replicated.
    """

    features: int
    size: int = 3
    stride: int = 1
    dilation: int = 1
    zigzag_shift: orderings.Shift = 'corner'
    dtype: Dtype = jnp.float32
    borders: Borders = 'zeros'

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], ordering: Ordering | None = None
    ) -> Float[Array, 'batch out_height out_width features']:
        kernel = self.param('kernel', xavier, (self.size, self.size, x.shape[-1], self.features))
        bias = self.param('bias', nn.initializers.zeros, (self.features,))
        x, kernel, bias = (array.astype(self.dtype) for array in (x, kernel, bias))

        if ordering is not None:
            kernel = orderings.into_frame(kernel, ordering, rows=0)
        found = self._correlate(x, kernel, ordering)
        if self.borders == 'partial':
            found *= self._taps_per_tap_inside(x, ordering)
        return found + bias[None, None, None]

    def _correlate(self, x, kernel, ordering: Ordering | None):
        taps, x, kernel, padding = self._geometry(x, kernel, ordering)
        if self.borders == 'replicate':
            if ordering is not None:
                raise UserError('borders that are replicated may show what comes later in an ordering; take partial ones')
            x, padding = _pad(x, padding, mode='edge'), ((0, 0), (0, 0))
        return convolve(x, kernel, padding, self.stride, self.dilation, taps)

    def _taps_per_tap_inside(self, x, ordering: Ordering | None) -> Float[Array, '1 out_height out_width 1']:
        """How many taps there are for each one that is inside the map, which the current pixel always is."""
        ones, taps = jnp.ones((1, *x.shape[1:3], 1), x.dtype), jnp.ones((self.size, self.size, 1, 1), x.dtype)
        used, _, masked, _ = self._geometry(ones, taps, ordering)
        return jnp.sum(masked * used[:, :, None, None]) / self._correlate(ones, taps, ordering)

    def _geometry(self, x, kernel, ordering: Ordering | None):
        """Taps, input, kernel and padding; a traced zigzag shifts the input and masks the kernel by selection."""
        raster, zigzag, centred = (
            orderings.canonical_support(shift, self.size, self.dilation) for shift in ('raster', self.zigzag_shift, 'centred')
        )
        if ordering is None or orderings.is_static(ordering.zigzag):
            taps, padding = centred if ordering is None else zigzag if ordering.zigzag else raster
            return taps, x, kernel, padding
        shifted = orderings.select(ordering.zigzag, lambda: _pad(x, zigzag[1]), lambda: _pad(x, raster[1]))
        taps = jnp.where(ordering.zigzag, zigzag[0], raster[0]).astype(kernel.dtype)
        return zigzag[0] | raster[0], shifted, kernel * taps[:, :, None, None], ((0, 0), (0, 0))


class Dropout(nn.Module):
    """Leaves out entries, at random, in training, and enlarges the others by as much.

    Flax's, but for how it is drawn: for each image by its number in the batch, so the same on any number of devices.
    `broadcast_dims`: axes along which all entries are left out together, or none.
    """

    rate: float
    broadcast_dims: Sequence[int] = ()

    @nn.compact
    def __call__(self, x: Float[Array, 'batch *shape'], *, train: bool) -> Float[Array, 'batch *shape']:
        if not train or not self.rate:
            return x
        shape = [1 if axis in self.broadcast_dims else x.shape[axis] for axis in range(1, x.ndim)]
        keys = parallel.keys(self.make_rng('dropout'), len(x))
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, shape))(keys)
        return jnp.where(kept, x / (1 - self.rate), 0)


def batch_norm(train: bool, *, momentum: float, dtype: Dtype, name: str) -> nn.BatchNorm:
    """Batch normalisation, in training by the statistics of the whole batch on all devices. momentum: of running statistics."""
    return nn.BatchNorm(
        use_running_average=not train, momentum=momentum, dtype=dtype, axis_name=parallel.axis() if train else None, name=name
    )


class ResidualBlock(nn.Module):
    """Residual block from C to 2C channels (supplement, Table 4): one 3x3 convolution, five 1x1, three shortcuts.

    Each pair of convolutions with ReLU is added to its input, which for the first pair is padded with zero channels. There
    is no normalisation and no ReLU after a sum. The papers do not say where dropout goes; here it is applied to the
    output of each pair, before the sum.
    """

    dropout: float = 0.0
    zigzag_shift: orderings.Shift = 'corner'
    dtype: Dtype = jnp.float32
    borders: Borders = 'zeros'

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], ordering: Ordering | None = None, *, train: bool = False
    ) -> Float[Array, 'batch height width doubled']:
        channels = 2 * x.shape[-1]

        def pointwise(index: int) -> Pointwise:
            return Pointwise(channels, dtype=self.dtype, name=f'conv_{index}')

        masked = MaskedConv(channels, zigzag_shift=self.zigzag_shift, dtype=self.dtype, borders=self.borders, name='conv_0')
        firsts = [lambda x: masked(x, ordering), pointwise(2), pointwise(4)]
        shape = (*x.shape[:-1], channels)
        shortcut = as_rows(jnp.pad(x.astype(self.dtype), ((0, 0), (0, 0), (0, 0), (0, x.shape[-1]))))
        for pair, first in enumerate(firsts):
            x = nn.relu(as_rows(first(x)))
            x = nn.relu(pointwise(2 * pair + 1)(x))
            x = as_rows(Dropout(self.dropout)(x.reshape(shape), train=train))
            shortcut = x = x + shortcut
        return x.reshape(shape)


def upsample(
    x: Float[Array, 'batch map_height map_width channels'], stride: int, height: int, width: int, first: float = 0.0
) -> Float[Array, 'batch {height} {width} channels']:
    """Bilinear interpolation at the pixels of an image, of maps whose cell i is centred at pixel `first` + i * `stride`.

    Beyond the outermost cells these are repeated. Two small products, in float32 on all devices.
    """
    rows, columns = _interpolation(x.shape[1], stride, first, height), _interpolation(x.shape[2], stride, first, width)
    x = jnp.einsum('hr,brcd->bhcd', rows, x, precision='highest')
    return jnp.einsum('wc,bhcd->bhwd', columns, x, precision='highest')


def _interpolation(cells: int, stride: int, first: float, length: int) -> Float[Array | np.ndarray, 'length cells']:
    """The share of each cell in each pixel along one axis: constants of the program, unless the sizes are symbolic."""
    xp = jnp if export.is_symbolic_dim(length) else np
    places = xp.clip((xp.arange(length) - first) / stride, 0, cells - 1)
    return xp.maximum(0, 1 - xp.abs(places[:, None] - xp.arange(cells)[None])).astype(np.float32)


def as_rows(x: Float[Array, '*positions channels']) -> Float[Array, '... channels']:
    """All positions in one axis, except on CPU.

    The gradient of a weight is then a product of two matrices, of which GPUs need no transposed copies; with several axes of
    positions XLA makes these copies. On CPU they are what makes that product fast.
    """
    return x if platform() == 'cpu' else x.reshape(-1, x.shape[-1])
