"""A vision transformer as DINO, DINOv2 and timm have it."""

from collections.abc import Mapping
from types import ModuleType
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float

from ar_seg_jax import attention, layers
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Normalisation
from ar_seg_jax.models import normalisations

Resampling = Literal['dino', 'antialias']
Tokens = Float[Array, 'batch tokens width']

_EPSILON = 1e-6  # of layer normalisation
_HIDDEN = 4  # channels of the MLP, for each of its input


class ViT(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) whose features are its last patch tokens; see `interfaces.Model`.

    Pre-norm blocks with a class token; the features are normalised at the end, and the class token and the registers are left
    out of them. One cell is one patch; it is centred in the middle of its pixels. All of the encoder is in the group 'encoder',
    which config.frozen can name.

    Published networks want images whose sides are multiples of the patch. Others get the pixels of their last row and column
    repeated up to the next multiple here, so that every pixel is in a patch.

    patch: pixels of a side. width, depth, attention_heads: channels, blocks, and heads of each. grid: cells of a side of the
    learned position embedding, 14 for patches of 16 pixels, 28 for 8, and 37 for DINOv2. resampling: how the embedding gets
    other sizes, see `resampled`. layer_scale, registers: the factors on each residual, and the additional tokens, of DINOv2.
    normalise: the input by its name in `normalisations`, of which weights want that of their training. magnify: a whole factor, a
    part of the patch, by which images are enlarged (bicubic) before they are cut into patches.

    Computation is in `dtype`; parameters and heads are float32.
    """

    heads: Mapping[str, int]
    patch: int
    width: int
    depth: int
    attention_heads: int
    grid: int
    resampling: Resampling
    layer_scale: bool
    registers: int
    normalise: normalisations.Name
    dtype: layers.Precision
    magnify: int

    reach = None

    def __post_init__(self):
        for name in ('patch', 'width', 'depth', 'attention_heads', 'grid'):
            if getattr(self, name) < 1:
                raise UserError(f'model.{name} is at least 1, found {getattr(self, name)}')
        if self.registers < 0:
            raise UserError(f'model.registers is at least 0, found {self.registers}')
        if self.magnify < 1 or self.patch % self.magnify:
            raise UserError(f'model.magnify divides model.patch ({self.patch}), found {self.magnify}')
        if self.width % self.attention_heads:
            raise UserError(f'model.width divides into model.attention_heads; found {self.width} and {self.attention_heads}')
        super().__post_init__()

    @property
    def normalisation(self) -> Normalisation:
        """Of the input, see `interfaces.Model`."""
        return normalisations.NORMALISATIONS[self.normalise]

    @property
    def output_stride(self) -> int:
        """See `interfaces.Model`."""
        return self.patch // self.magnify

    @property
    def first_cell(self) -> float:
        """See `interfaces.Model`."""
        return (self.output_stride - 1) / 2

    def setup(self):
        self.encoder = Encoder(
            self.patch,
            self.width,
            self.depth,
            self.attention_heads,
            self.grid,
            self.resampling,
            self.layer_scale,
            self.registers,
            self.dtype,
        )
        self.head = {name: layers.Pointwise(width, self.dtype, name=name) for name, width in self.heads.items()}

    def __call__(
        self, image: Float[Array, 'batch height width channels'], *, train: bool = False
    ) -> Mapping[str, Float[Array, 'batch map_height map_width _']]:
        """The same in training as in inference."""
        if self.magnify > 1:
            batch, height, width, channels = image.shape
            image = jax.image.resize(image, (batch, self.magnify * height, self.magnify * width, channels), 'cubic')
        x = self.encoder(image)
        return {'features': x, **{name: head(x).astype(jnp.float32) for name, head in self.head.items()}}

    @nn.nowrap
    def to_pixels(
        self, maps: Float[Array, 'batch map_height map_width channels'], height: int, width: int
    ) -> Float[Array, 'batch {height} {width} channels']:
        """See `interfaces.Model`."""
        return layers.upsample(maps, self.output_stride, height, width, first=self.first_cell)


class Encoder(nn.Module):
    """From images to the normalised patch tokens of the last block, as a map; see `ViT`."""

    patch: int
    width: int
    depth: int
    attention_heads: int
    grid: int
    resampling: Resampling
    layer_scale: bool
    registers: int
    dtype: layers.Dtype

    @nn.compact
    def __call__(
        self, image: Float[Array, 'batch height width channels']
    ) -> Float[Array, 'batch map_height map_width {self.width}']:
        batch, height, width, _ = image.shape
        beyond = ((0, 0), (0, -height % self.patch), (0, -width % self.patch), (0, 0))
        size = (self.patch, self.patch)
        embed = nn.Conv(self.width, size, strides=size, padding='VALID', dtype=self.dtype, name='patch_embedding')
        maps = embed(jnp.pad(image.astype(self.dtype), beyond, mode='edge'))

        small = nn.initializers.truncated_normal(0.02)
        first = self.param('class_token', small, (1, 1, self.width))
        position = self.param('position', small, (1, 1 + self.grid**2, self.width))
        native = position[0, 1:].reshape(self.grid, self.grid, self.width)
        maps = maps + resampled(native, *maps.shape[1:3], self.resampling).astype(self.dtype)[None]
        # Registers come after the class token and have no position.
        before = [first + position[:, :1]]
        before += [self.param('registers', small, (1, self.registers, self.width))] if self.registers else []
        tokens = [jnp.broadcast_to(token, (batch, *token.shape[1:])).astype(self.dtype) for token in before]
        x = jnp.concatenate([*tokens, maps.reshape(batch, -1, self.width)], axis=1)
        for index in range(self.depth):
            x = Block(self.attention_heads, self.layer_scale, self.dtype, name=f'block_{index}')(x)
        x = _normalised('norm', self.dtype)(x)
        return x[:, 1 + self.registers :].reshape(maps.shape)


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), each perhaps with a learned factor on every channel.

    The rows of the published qkv weight are those of all queries, of all keys, of all values, each head after head; so are the
    columns of the kernel here. GELU is exact, by the error function.
    """

    attention_heads: int
    layer_scale: bool
    dtype: layers.Dtype

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        x = x + self._scaled('attention_scale', self._attended(_normalised('attention_norm', self.dtype)(x)))
        hidden = self._linear('mlp_0', _HIDDEN * x.shape[-1])(_normalised('mlp_norm', self.dtype)(x))
        return x + self._scaled('mlp_scale', self._linear('mlp_1', x.shape[-1])(nn.gelu(hidden, approximate=False)))

    def _attended(self, x):
        width = x.shape[-1]
        qkv = self._linear('attention_qkv', 3 * width)(x)
        qkv = qkv.reshape(*x.shape[:2], 3, self.attention_heads, width // self.attention_heads)
        attended = attention.attend(*jnp.moveaxis(qkv, 2, 0), causal=False)
        return self._linear('attention_output', width)(attended.reshape(x.shape))

    def _scaled(self, name: str, x):
        return LayerScale(self.dtype, name=name)(x) if self.layer_scale else x

    def _linear(self, name: str, features: int) -> nn.Dense:
        return nn.Dense(features, dtype=self.dtype, kernel_init=nn.initializers.truncated_normal(0.02), name=name)


class LayerScale(nn.Module):
    """A learned factor on every channel (Touvron et al. 2021), 1e-5 at first as in DINOv2."""

    dtype: layers.Dtype

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        return x * self.param('scale', nn.initializers.constant(1e-5), x.shape[-1:]).astype(self.dtype)[None, None]


def resampled(
    position: Float[Array, 'grid grid width'], height: int, width: int, resampling: Resampling
) -> Float[Array, '{height} {width} width']:
    """A position embedding for maps of another size; the same one for maps of its own.

    'dino': bicubic as torch's interpolate (a = -0.75, indices beyond the edge are clamped), with steps of grid / (cells + 0.1)
    instead of grid / cells, since DINO and DINOv2 add 0.1 to the size so that its rounding is safe. 'antialias': as DINOv2 with
    registers and timm do, bicubic with a = -0.5 and wider kernels where the map becomes smaller.
    """
    grid = position.shape[0]
    if (height, width) == (grid, grid):
        return position
    if resampling == 'antialias':
        return jax.image.resize(position, (height, width, position.shape[-1]), 'cubic', antialias=True)
    added = 0.1
    if export.is_symbolic_dim(height):  # it may turn out to be that of the embedding, which then stays as it is
        added = jnp.where((jnp.asarray(height) == grid) & (jnp.asarray(width) == grid), 0.0, added)
    rows, columns = _bicubic(grid, height, added), _bicubic(grid, width, added)
    return jnp.einsum('hr,wc,rcd->hwd', rows, columns, position, precision='highest')


def _bicubic(grid: int, cells: int, added: Float[Array, ''] | float) -> Float[Array | np.ndarray, 'cells grid']:
    """The share of each place of the embedding in each of the cells along one axis: constants, unless cells are symbolic.

    added: to the number of cells.
    """
    xp = jnp if export.is_symbolic_dim(cells) else np
    places = (xp.arange(cells) + 0.5) * grid / (cells + added) - 0.5
    taps = xp.floor(places)[:, None] + np.arange(-1, 3)[None]
    weights = _cubic(xp, xp.abs(places[:, None] - taps))
    inside = xp.clip(taps, 0, grid - 1)[..., None] == np.arange(grid)[None, None]
    return xp.sum(weights[..., None] * inside, axis=1).astype(np.float32)


def _cubic(xp: ModuleType, distance: Float[Array | np.ndarray, '*places'], a: float = -0.75):
    """The cubic convolution kernel (Keys 1981, Equation 15), for distances of at most 2; xp: the NumPy that computes it."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return xp.where(distance <= 1, near, far)


def _normalised(name: str, dtype: layers.Dtype) -> nn.LayerNorm:
    """In two passes, as in torch: the mean square minus the squared mean loses digits."""
    return nn.LayerNorm(epsilon=_EPSILON, use_fast_variance=False, dtype=dtype, name=name)
