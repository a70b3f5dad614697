"""The family F = d . g_ar . h of the AC / ARL paper: an encoder, a masked encoder, a decoder, in one class."""

from collections.abc import Mapping, Sequence
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ar_seg_jax import layers, orderings
from ar_seg_jax.attention import MaskedAttention, Merge
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Normalisation
from ar_seg_jax.models import resnet
from ar_seg_jax.orderings import Ordering

Variant = Literal['F1', 'F2', 'F3', 'F4', 'F5']
Zigzag = Literal['corner', 'alternate', 'raster']
Geometry = Literal['centred', 'paper']
Normalise = Literal['none', 'data']
Maps = Mapping[str, Float[Array, 'batch map_height map_width _']]

_STEM_CHANNELS = 64
_ATTENDED = 4 * _STEM_CHANNELS  # channels after the second residual block
_MOMENTUM = 0.9  # of running statistics, for one view


class Autoregressive(nn.Module):
    """Maps images to features and heads under given orderings (slides, 'Variations of the model'); see `interfaces.Model`.

    F1: fully autoregressive, masked stem without batch norm, then masked blocks. F2: ordinary stem, masked blocks. F3:
    stem and one ordinary block, the other blocks masked. F4: stem and ordinary blocks, nothing masked. F5: ResNet-18,
    nothing masked, `blocks` has no say. Every residual block doubles the channels, from 64. Attention follows the second
    residual block. The decoder of the paper is a head, a 1x1 convolution.

    Autoregressive order holds between positions of the feature map: except in F1 the stem looks a few pixels ahead, and in
    all variants so does the bilinear interpolation of what comes out.

    In F1 the position of a cell stands for the first visited pixel of the cell. Under zigzag orderings positions keep the
    zigzag of the cells, which is not that of the pixels on every diagonal; and where the size does not divide by the output
    stride, flipped views have their cells elsewhere, so crops for training had better divide.

    `zigzag` is how a convolution follows a zigzag ordering. 'corner': shifted into the corner, all taps, strictly
    autoregressive. 'alternate': top shift and left shift in turn, 7 of 9 taps, strictly autoregressive, reaches more of
    the past. 'raster': raster masks below zigzag attention, as the paper's code does; not autoregressive in any order.

    `remat` keeps only the input of each residual block for the backward pass, which then computes the block again: half the
    memory on GPUs and TPUs, a third more arithmetic, the same result up to rounding. On CPU XLA's schedule computes it again
    too early to save any memory.

    `geometry` is where cells are taken to be. 'centred': where they are; the stem's convolution and pooling look at pixel
    `output_stride` * i for cell i. 'paper': (`output_stride` - 1) / 2 pixels further down and to the right, as the interpolation
    of the paper's code takes them, which displaces label maps by as much.

    `attention_merge` is how attention meets its input, see `attention.MaskedAttention`.

    `normalise` is the input: 'none', images in [0, 1], as the papers have it; or 'data', these minus the mean of the training
    images and divided by their deviation, by channel, which are `measured`. The zeros that convolutions see beyond an image are
    then an average pixel instead of a black one.

    `borders` is what they see beyond a map, see `layers.Borders`. 'replicate' is for the layers that follow no ordering, the stem
    and ordinary blocks: under an ordering the repeated row or column may be one that comes later. Masked blocks keep their zeros
    then, in the unmasked network too. 'partial' shows no pixel to anybody, and is for all of them. The ResNet of F5 has zeros.

    Computation is in `dtype`; parameters, batch statistics and heads are float32.
    """

    heads: Mapping[str, int]
    variant: Variant
    blocks: int
    output_stride: int
    attention: bool
    attention_heads: int
    attention_merge: Merge
    dropout: float
    zigzag: Zigzag
    geometry: Geometry
    dtype: layers.Precision
    remat: bool
    normalise: Normalise
    borders: layers.Borders
    measured: Normalisation = Normalisation()

    def __post_init__(self):
        for name, value, known in (
            ('blocks', self.blocks, range(1, 6)),
            ('output_stride', self.output_stride, (2, 4)),
        ):
            if value not in known:
                raise UserError(f'model.{name} is one of {", ".join(map(str, known))}; found {value!r}')
        if not 0 <= self.dropout < 1:
            raise UserError(f'model.dropout is a rate in [0, 1), found {self.dropout}')
        if self.attention and (self.blocks < 2 or self.variant == 'F5'):
            raise UserError('model.attention comes after the second residual block, which this model has not; set it to False')
        if self.attention and (self.attention_heads < 1 or _ATTENDED % (2 * self.attention_heads)):
            raise UserError(f'model.attention_heads divides {_ATTENDED // 2}, found {self.attention_heads}')
        if self.borders != 'zeros' and self.variant == 'F5':
            raise UserError(f"model.borders of the ResNet of variant F5 is 'zeros', found {self.borders!r}; choose F1 to F4")
        super().__post_init__()

    @property
    def normalisation(self) -> Normalisation:
        """See `interfaces.Model`."""
        return self.measured if self.normalise == 'data' else Normalisation()

    @property
    def reach(self) -> int | None:
        """See `interfaces.Model`: that of the unmasked network, in which every 3x3 convolution looks one cell further."""
        if self.attention:
            return None
        if self.variant == 'F5':
            between = 2 if self.geometry == 'paper' else 1  # cells, at most, from a pixel to what it is interpolated from
            return resnet.dilated(self.output_stride, self.dtype).reach + between * self.output_stride
        return self.output_stride * (self.blocks + 2)  # the stem, and interpolation, look less than one cell further each

    @property
    def first_cell(self) -> float:
        """See `interfaces.Model`."""
        return self._between if self.geometry == 'paper' else 0.0

    def setup(self):
        variant, stride, dtype = self.variant, self.output_stride, self.dtype
        if variant == 'F1':
            self.stem = MaskedStem(stride, self._shift(0), dtype, self._borders(masked=True))
        elif variant != 'F5':
            self.stem = Stem(stride, dtype, self.borders)
        else:
            self.resnet = resnet.dilated(stride, dtype)
        total = 0 if variant == 'F5' else self.blocks
        self.block = [
            layers.ResidualBlock(self.dropout, self._shift(index), dtype, self._borders(masked=index >= self._unmasked))
            for index in range(total)
        ]
        if self.attention:
            self.attend = MaskedAttention(self.attention_heads, self.attention_merge, dtype, name='attention')
        self.head = {name: layers.Pointwise(width, dtype, name=name) for name, width in self.heads.items()}

    def __call__(self, image: Float[Array, 'batch height width channels'], *, train: bool = False) -> Maps:
        """Maps of the unmasked network, that of inference; images of any height and width."""
        return self.scan(image, (None,), train=train)[0]

    def scan(
        self, image: Float[Array, 'batch height width channels'], views: Sequence[Ordering | None], *, train: bool = False
    ) -> list[Maps]:
        """Maps under each ordering of `views`, in image orientation. A traced ordering needs square images.

        The views share the unmasked encoder h, which is computed once, where the paper's code makes a pass for each. Running
        statistics move as far as they would in as many passes: with half of that they lag behind the weights of short
        trainings so much that 5 points of accuracy are lost (docs/ablations.md).
        """
        encoded = self._encode(image.astype(self.dtype), _MOMENTUM ** len(views), train)
        return [self._decode(self._follow(encoded, ordering, train), ordering) for ordering in views]

    @nn.nowrap
    def used_taps(self, ordering: Ordering) -> Mapping[str, Bool[np.ndarray | Array, 'size size']]:
        """Taps of the masked kernels that a scan in this ordering uses, by the paths of the kernels."""
        stem = {'stem/conv': 0, 'stem/down': 0} if self.variant == 'F1' else {}
        blocks = {} if self.variant == 'F5' else {f'block_{index}/conv_0': index for index in range(self._unmasked, self.blocks)}
        places = {**stem, **blocks}.items()
        return {f'{name}/kernel': orderings.used_taps(ordering, 3, self._shift(index)) for name, index in places}

    @nn.nowrap
    def to_pixels(
        self, maps: Float[Array, 'batch map_height map_width channels'], height: int, width: int, scanned: bool = False
    ) -> Float[Array, 'batch {height} {width} channels']:
        """See `interfaces.Model`. `scanned`: the maps are those of `scan` under orderings.

        In F1 these stand for the first visited pixel of a cell, which is its other end in half of the orderings: on average
        over all of them they are centred between the two.
        """
        first = self._between if scanned and self.variant == 'F1' else self.first_cell
        return layers.upsample(maps, self.output_stride, height, width, first=first)

    def _encode(self, x, momentum: float, train: bool):
        """h: what is before the masked part."""
        if self.variant == 'F5':
            return self.resnet(x, momentum, train=train)[-1]
        x = x if self.variant == 'F1' else self.stem(x, momentum, train=train)
        return self._blocks(x, range(self._unmasked), None, train)

    def _follow(self, x, ordering: Ordering | None, train: bool):
        """g_ar, in the frame of the ordering."""
        x = x if ordering is None else orderings.into_frame(x, ordering)
        x = self.stem(x, ordering) if self.variant == 'F1' else x
        return self._blocks(x, range(self._unmasked, len(self.block)), ordering, train)

    def _decode(self, x, ordering: Ordering | None) -> Maps:
        """d: features and heads, turned back. Few channels are turned rather than many: where nobody asks for the features,
        jit leaves them out."""

        def turned(maps):
            return maps if ordering is None else orderings.out_of_frame(maps, ordering)

        return {'features': turned(x), **{name: turned(head(x).astype(jnp.float32)) for name, head in self.head.items()}}

    def _blocks(self, x, indices: range, ordering: Ordering | None, train: bool):
        def apply(block, x):
            return block(x, ordering, train=train)

        apply = nn.remat(apply) if self.remat else apply
        for index in indices:
            x = apply(self.block[index], x)
            if index == 1 and self.attention:
                x = self.attend(x, ordering)
        return x

    @property
    def _between(self) -> float:
        """The middle of the pixels of cell 0."""
        return (self.output_stride - 1) / 2

    @property
    def _unmasked(self) -> int:
        return {'F3': 1, 'F4': self.blocks}.get(self.variant, 0)

    def _borders(self, masked: bool) -> layers.Borders:
        """Of a layer that is masked under orderings, or of one that never is."""
        return 'zeros' if masked and self.borders == 'replicate' else self.borders

    def _shift(self, index: int) -> orderings.Shift:
        return ('top', 'left')[index % 2] if self.zigzag == 'alternate' else self.zigzag


class Stem(nn.Module):
    """Convolutional stem (supplement, Table 1): 3x3 convolution to 64 channels, batch norm, ReLU, 3x3 max pool."""

    output_stride: int
    dtype: layers.Dtype
    borders: layers.Borders

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], momentum: float, *, train: bool
    ) -> Float[Array, 'batch map_height map_width 64']:
        stride = self.output_stride // 2
        x = layers.MaskedConv(_STEM_CHANNELS, stride=stride, dtype=self.dtype, borders=self.borders, name='conv')(x)
        x = layers.batch_norm(train, momentum=momentum, dtype=self.dtype, name='norm')(x)
        return layers.max_pool(nn.relu(x), 3, 2, ((1, 1), (1, 1)))


class MaskedStem(nn.Module):
    """Stem of the fully autoregressive model: no batch norm, and a strided masked convolution for the max pool.

    Features are in the frame of the ordering, where a strided convolution is anchored at the first visited pixel of each
    cell. The second convolution is followed by no ReLU, like the pooling it stands for.
    """

    output_stride: int
    zigzag_shift: orderings.Shift
    dtype: layers.Dtype
    borders: layers.Borders

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], ordering: Ordering | None
    ) -> Float[Array, 'batch map_height map_width 64']:
        def conv(stride, name):
            options = {'zigzag_shift': self.zigzag_shift, 'dtype': self.dtype, 'borders': self.borders}
            return layers.MaskedConv(_STEM_CHANNELS, stride=stride, **options, name=name)

        x = nn.relu(conv(self.output_stride // 2, 'conv')(x, ordering))
        return conv(2, 'down')(x, ordering)
