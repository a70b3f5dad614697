"""SegFormer: a Mix Transformer (MiT) with its decode head."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Normalisation
from ar_seg_jax.models import normalisations

Variant = Literal['B0', 'B1', 'B2', 'B3', 'B4', 'B5']
Interpolation = Literal['paper', 'centred']
Maps = Float[Array, 'batch map_height map_width channels']


class Form(NamedTuple):
    """Of each of the four stages, channels and blocks; and the channels of the decode head."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    decoder_width: int


# Xie et al. 2021, Table 6.
FORMS: Mapping[Variant, Form] = {
    'B0': Form((32, 64, 160, 256), (2, 2, 2, 2), 256),
    'B1': Form((64, 128, 320, 512), (2, 2, 2, 2), 256),
    'B2': Form((64, 128, 320, 512), (3, 4, 6, 3), 768),
    'B3': Form((64, 128, 320, 512), (3, 4, 18, 3), 768),
    'B4': Form((64, 128, 320, 512), (3, 8, 27, 3), 768),
    'B5': Form((64, 128, 320, 512), (3, 6, 40, 3), 768),
}
_ATTENTION_HEADS = (1, 2, 5, 8)  # of the blocks of each stage
_REDUCTIONS = (8, 4, 2, 1)  # cells along each side to one key and value
_STRIDE = 4  # pixels, from one cell of the first stage to the next; each later stage doubles it
_EXPANSION = 4  # channels inside the feed-forward network, for each of its input
_EPSILON = 1e-5  # of layer normalisation
_DRAWN = nn.initializers.normal(0.02)


class SegFormer(nn.Module):
    """SegFormer (Xie et al. 2021), whose features are what the classifier of its decode head reads; see `interfaces.Model`.

    Heads are linear maps with a bias, together that classifier. AST gives them K + d + 1 + S channels, and so the network
    3,725,452 (B0, 44 channels) to 84,627,180 (B5) parameters. The group 'encoder' is all that published weights are for;
    'decode_head' and the heads are drawn, as AST does.

    Cells have a stride of 4 pixels. The convolutions look at pixel 4 * i for cell i of the first stage, and at 8, 16 and 32 * i
    in the others, since their kernels are odd and padded evenly: `first_cell` is 0. `interpolation` is how the decode head brings
    the later stages to the size of the first. 'paper', as published: stretched, with half-pixel centres (torch's align_corners
    false), which displaces what the later stages found by 2, 6 and 14 pixels down and to the right against the first one, and is
    what published networks were trained with. 'centred': from where the cells are.

    The attention of each block is to keys and values that stand for windows of 8, 4, 2 and 1 cells of a side, thus of 32 pixels;
    cells beyond the last whole window are in none, as published. Published networks need 32 pixels along each side; here what
    is smaller gets its last cells repeated up to one window.

    variant: B0 to B5, see `FORMS`. dropout: of the features, in training; 0.1 as published. drop_path: how often the last block
    leaves an image as it is in training, each time for attention and feed-forward network alone (stochastic depth, Huang et al.
    2016); the share grows evenly over the blocks, from 0 in the first one. 0.1 as published. normalise: the input by its name in
    `normalisations`. AST gives images in [0, 1] to weights that were trained with ImageNet's: 'none'.

    `remat` keeps only the input of each block of the encoder for the backward pass, which then computes the block again.

    Computation is in `dtype`; parameters, batch statistics and heads are float32. Images of any height and width.
    """

    heads: Mapping[str, int]
    variant: Variant
    interpolation: Interpolation
    dropout: float
    drop_path: float
    normalise: normalisations.Name
    dtype: layers.Precision
    remat: bool

    output_stride = _STRIDE
    first_cell = 0.0
    reach = None

    def __post_init__(self):
        for name, value in (('dropout', self.dropout), ('drop_path', self.drop_path)):
            if not 0 <= value < 1:
                raise UserError(f'model.{name} is a rate in [0, 1), found {value}')
        super().__post_init__()

    @property
    def normalisation(self) -> Normalisation:
        """Of the input, see `interfaces.Model`."""
        return normalisations.NORMALISATIONS[self.normalise]

    def setup(self):
        form = FORMS[self.variant]
        self.encoder = Encoder(form.widths, form.depths, self.drop_path, self.dtype, self.remat)
        self.decode_head = Decoder(form.decoder_width, self.interpolation, self.dtype)
        self.dropped = layers.Dropout(self.dropout)
        self.head = {name: nn.Dense(width, kernel_init=_DRAWN, dtype=self.dtype, name=name) for name, width in self.heads.items()}

    def __call__(
        self, image: Float[Array, 'batch height width channels'], *, train: bool = False
    ) -> Mapping[str, Float[Array, 'batch map_height map_width _']]:
        """In training dropout and drop path are drawn with the key 'dropout', and batch statistics move."""
        x = self.decode_head(self.encoder(image, train=train), train=train)
        x = self.dropped(x, train=train)
        return {'features': x, **{name: head(x).astype(jnp.float32) for name, head in self.head.items()}}

    @nn.nowrap
    def to_pixels(
        self, maps: Float[Array, 'batch map_height map_width channels'], height: int, width: int
    ) -> Float[Array, 'batch {height} {width} channels']:
        """See `interfaces.Model`."""
        return layers.upsample(maps, _STRIDE, height, width, first=self.first_cell)


class Encoder(nn.Module):
    """The Mix Transformer: maps after each of four stages, of stride 4, 8, 16 and 32, the finest first; see `SegFormer`.

    A stage is an overlapping convolution (7x7 with a stride of 4, later 3x3 with a stride of 2), layer normalisation, its blocks,
    and layer normalisation of what comes out, which the next stage reads. All epsilons are 1e-5 as in Hugging Face's program,
    which AST uses; NVIDIA's has 1e-6 in the blocks and after the stages.

    Weights are drawn from N(0, 0.02^2) as there, biases are 0; NVIDIA draws convolutions by He's rule.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    drop_path: float
    dtype: layers.Dtype
    remat: bool

    @nn.compact
    def __call__(
        self, image: Float[Array, 'batch height width channels'], *, train: bool = False
    ) -> list[Float[Array, 'batch _ _ _']]:
        def apply(block, x):
            return block(x, train=train)

        apply = nn.remat(apply) if self.remat else apply
        rates = iter(np.linspace(0, self.drop_path, sum(self.depths)).tolist())
        x, maps = image, []
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            size, stride = (3, 2) if stage else (7, _STRIDE)
            x = _convolution(width, size, stride, size // 2, self.dtype, f'stage{stage}_embedding')(x)
            x = _normalised(f'stage{stage}_embedding_norm', self.dtype)(x)
            for index in range(depth):
                name = f'stage{stage}_block{index}'
                block = Block(_ATTENTION_HEADS[stage], _REDUCTIONS[stage], next(rates), self.dtype, name=name)
                x = apply(block, x)
            x = _normalised(f'stage{stage}_norm', self.dtype)(x)
            maps.append(x)
        return maps


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)), which has a 3x3 convolution of each channel inside.

    reduction: cells along each side of a window, of which a convolution and layer normalisation make one key and one value.
    drop_path: how often either sum leaves out its second part for an image in training; it is larger by as much when it is there.

    Scores of all cells against the few windows are held at once, so that memory grows as (height * width)^2 / reduction^2.
    """

    attention_heads: int
    reduction: int
    drop_path: float
    dtype: layers.Dtype

    @nn.compact
    def __call__(self, x: Maps, *, train: bool = False) -> Maps:
        def kept(branch):
            return layers.Dropout(self.drop_path, broadcast_dims=(1, 2, 3))(branch, train=train)

        x = x + kept(self._attended(_normalised('attention_norm', self.dtype)(x)))
        hidden = self._linear('mlp_0', _EXPANSION * x.shape[-1])(_normalised('mlp_norm', self.dtype)(x))
        hidden = nn.gelu(Depthwise(self.dtype, name='mlp_conv')(hidden), approximate=False)
        return x + kept(self._linear('mlp_1', x.shape[-1])(hidden))

    def _attended(self, x):
        batch, channels = x.shape[0], x.shape[-1]
        windows = self._windows(x)
        projections = {'attention_query': x, 'attention_key': windows, 'attention_value': windows}
        query, key, value = (
            self._linear(name, channels)(source).reshape(batch, -1, self.attention_heads, channels // self.attention_heads)
            for name, source in projections.items()
        )
        attended = jax.nn.dot_product_attention(query, key, value)
        return self._linear('attention_output', channels)(attended.reshape(x.shape))

    def _windows(self, x):
        if self.reduction == 1:
            return x
        beyond = [(0, max(0, self.reduction - side)) for side in x.shape[1:3]]
        x = jnp.pad(x, ((0, 0), *beyond, (0, 0)), mode='edge')
        x = _convolution(x.shape[-1], self.reduction, self.reduction, 0, self.dtype, 'attention_reduction')(x)
        return _normalised('attention_reduction_norm', self.dtype)(x)

    def _linear(self, name: str, features: int) -> nn.Dense:
        return nn.Dense(features, dtype=self.dtype, kernel_init=_DRAWN, name=name)


class Depthwise(nn.Module):
    """A 3x3 convolution of each channel alone, with zeros around the map."""

    dtype: layers.Dtype

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        channels = x.shape[-1]
        kernel = self.param('kernel', _DRAWN, (3, 3, 1, channels)).astype(self.dtype)
        bias = self.param('bias', nn.initializers.zeros, (channels,)).astype(self.dtype)
        if layers.platform() == 'cpu':
            x = self._summed(x.astype(self.dtype), kernel)
        else:
            numbers = ('NHWC', 'HWIO', 'NHWC')
            x = jax.lax.conv_general_dilated(
                x.astype(self.dtype), kernel, (1, 1), 'SAME', dimension_numbers=numbers, feature_group_count=channels
            )
        return x + bias[None, None, None]

    @staticmethod
    def _summed(x, kernel):
        """As a sum of nine shifted maps, since XLA's gradients of convolutions in groups are slow on CPU."""
        height, width = x.shape[1:3]
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return sum(
            padded[:, row : row + height, column : column + width] * kernel[row, column][None, None]
            for row, column in np.ndindex(3, 3)
        )


class Decoder(nn.Module):
    """The decode head up to its classifier: `width` channels in cells of the first stage; see `SegFormer`.

    Published are a linear map of each stage, interpolation, concatenation (the last stage first), and a 1x1 convolution of all.
    That convolution is the sum of one for each stage, and commutes with the interpolation, which acts on each channel alone. So
    it comes first here, in the cells of its stage: the same numbers with a third of the arithmetic. Batch norm and ReLU follow.
    """

    width: int
    interpolation: Interpolation
    dtype: layers.Dtype

    @nn.compact
    def __call__(
        self, stages: Sequence[Float[Array, 'batch _ _ _']], *, train: bool = False
    ) -> Float[Array, 'batch map_height map_width {self.width}']:
        fused = []
        for index, x in enumerate(stages):
            x = nn.Dense(self.width, dtype=self.dtype, kernel_init=_DRAWN, name=f'stage{index}')(x)
            x = nn.Dense(self.width, use_bias=False, dtype=self.dtype, kernel_init=_DRAWN, name=f'fuse_stage{index}')(x)
            fused.append(self._as_fine(x, 2**index, *stages[0].shape[1:3]))
        norm = layers.batch_norm(train, momentum=0.9, dtype=self.dtype, name='norm')
        return nn.relu(norm(sum(fused)))

    def _as_fine(self, x, stride: int, height: int, width: int):
        """In the cells of the first stage, of which there are `stride` to one of x."""
        if self.interpolation == 'centred':
            return layers.upsample(x, stride, height, width).astype(self.dtype)
        return jax.image.resize(x, (x.shape[0], height, width, x.shape[-1]), 'linear', antialias=False)


def _convolution(features: int, size: int, stride: int, padding: int, dtype: layers.Dtype, name: str) -> nn.Conv:
    padding = ((padding, padding),) * 2
    return nn.Conv(features, (size, size), strides=(stride, stride), padding=padding, dtype=dtype, kernel_init=_DRAWN, name=name)


def _normalised(name: str, dtype: layers.Dtype) -> nn.LayerNorm:
    """In two passes, as in torch: the mean square minus the squared mean loses digits."""
    return nn.LayerNorm(epsilon=_EPSILON, use_fast_variance=False, dtype=dtype, name=name)
