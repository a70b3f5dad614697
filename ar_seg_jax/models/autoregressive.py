"""The family F = d . g_ar . h of the AC / ARL paper: an encoder, a masked encoder, a decoder, in one class."""

from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import layers, orderings
from ar_seg_jax.models.resnet import ResNet18
from ar_seg_jax.orderings import Ordering

Variant = Literal['F1', 'F2', 'F3', 'F4', 'F5']
Zigzag = Literal['corner', 'alternate', 'raster']

_STEM_CHANNELS = 64
_MOMENTUM = 0.9  # of running statistics, for one view


class Outputs(TypedDict):
    """What a model gives for one ordering."""

    scores: Float[Array, 'batch height width clusters']  # probabilities, float32
    features: Float[Array, 'batch feature_height feature_width channels']  # input of the decoder, in image orientation
    logits: Float[Array, 'batch feature_height feature_width clusters']  # output of the decoder before interpolation, float32
    auxiliary_scores: NotRequired[Float[Array, 'batch height width auxiliary_clusters']]  # of the second head


class Autoregressive(nn.Module):
    """Maps images to cluster probabilities under given orderings (slides, 'Variations of the model').

    F1: fully autoregressive, masked stem without batch norm, then masked blocks. F2: ordinary stem, masked blocks. F3:
    stem and one ordinary block, the other blocks masked. F4: stem and ordinary blocks, nothing masked. F5: ResNet-18,
    nothing masked, `blocks` has no say. Every residual block doubles the channels, from 64. Attention follows the second
    residual block.

    The orderings of one call share the unmasked encoder h, which is computed once, where the paper's code makes a pass for
    each. Running statistics move as far as they would in as many passes: with half of that they lag behind the weights of
    short trainings so much that 5 points of accuracy are lost (docs/ablations.md).

    Autoregressive order holds between positions of the feature map: except in F1 the stem looks a few pixels ahead, and in
    all variants so does the bilinear interpolation of the decoder.

    In F1 the position of a cell stands for the first visited pixel of the cell. Under zigzag orderings positions keep the
    zigzag of the cells, which is not that of the pixels on every diagonal; and where the size does not divide by the output
    stride, flipped views have their cells elsewhere, so crops for training had better divide.

    `zigzag` is how a convolution follows a zigzag ordering. 'corner': shifted into the corner, all taps, strictly
    autoregressive. 'alternate': top shift and left shift in turn, 7 of 9 taps, strictly autoregressive, reaches more of
    the past. 'raster': raster masks below zigzag attention, as the paper's code does; not autoregressive in any order.

    `auxiliary_clusters` above 0 adds a second head with that many clusters (overclustering), which only training looks at.

    `remat` keeps only the input of each residual block for the backward pass, which then computes the block again: half the
    memory on GPUs and TPUs, a third more arithmetic, the same result up to rounding. On CPU XLA's schedule computes it again
    too early to save any memory.

    Computation is in `dtype`; parameters, batch statistics and the softmax are float32.
    """

    num_clusters: int
    variant: Variant = 'F2'
    blocks: int = 5
    output_stride: int = 4
    attention: bool = False
    heads: int = 1
    dropout: float = 0.0
    zigzag: Zigzag = 'corner'
    dtype: layers.Dtype = jnp.float32
    auxiliary_clusters: int = 0
    remat: bool = False

    def __post_init__(self):
        for name, value, known in (
            ('num_clusters', self.num_clusters, range(2, 4097)),
            ('auxiliary_clusters', self.auxiliary_clusters, range(256)),
            ('variant', self.variant, ('F1', 'F2', 'F3', 'F4', 'F5')),
            ('blocks', self.blocks, range(1, 6)),
            ('output_stride', self.output_stride, (2, 4)),
            ('zigzag', self.zigzag, ('corner', 'alternate', 'raster')),
            ('dtype', str(jnp.dtype(self.dtype)), ('float32', 'bfloat16', 'float64')),
        ):
            if value not in known:
                raise ValueError(f'model.{name} is one of {known}, found {value!r}')
        if not 0 <= self.dropout < 1:
            raise ValueError(f'model.dropout is a rate in [0, 1), found {self.dropout}')
        if self.attention and (self.blocks < 2 or self.variant == 'F5'):
            raise ValueError('model.attention comes after the second residual block, which this model has not; set it to False')
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        image: Float[Array, 'batch height width channels'],
        views: Sequence[Ordering | None] = (None,),
        *,
        train: bool = False,
    ) -> list[Outputs]:
        """Outputs under each ordering of `views`, where None is the unmasked network of inference.

        `image` is in [0, 1]. Any height and width; a traced ordering needs them equal.
        """
        height, width = image.shape[1:3]
        total = 0 if self.variant == 'F5' else self.blocks
        unmasked = {'F3': 1, 'F4': total}.get(self.variant, 0)
        blocks = [
            layers.ResidualBlock(self.dropout, self._shift(index), self.dtype, name=f'block_{index}') for index in range(total)
        ]
        attention = layers.MaskedAttention(self.heads, self.dtype, name='attention') if self.attention else None
        masked_stem = MaskedStem(self.output_stride, self._shift(0), self.dtype, name='stem') if self.variant == 'F1' else None
        decoder, auxiliary = (
            layers.pointwise(clusters, self.dtype, name) if clusters else None
            for name, clusters in (('decoder', self.num_clusters), ('auxiliary_decoder', self.auxiliary_clusters))
        )

        def run(x, indices, ordering):
            def apply(block, x):
                return block(x, ordering, train=train)

            apply = nn.remat(apply) if self.remat else apply
            for index in indices:
                x = apply(blocks[index], x)
                if index == 1 and attention is not None:
                    x = attention(x, ordering)
            return x

        def scores(logits):
            return nn.softmax(layers.upsample(logits, self.output_stride, height, width))

        def view(ordering):
            x = encoded if ordering is None else orderings.into_frame(encoded, ordering)
            x = x if masked_stem is None else masked_stem(x, ordering)
            x = run(x, range(unmasked, total), ordering)

            def turned(maps):
                return maps if ordering is None else orderings.out_of_frame(maps, ordering)

            # Few channels are turned rather than many: where nobody asks for the features, jit leaves them out.
            logits = turned(decoder(x).astype(jnp.float32))
            outputs = Outputs(scores=scores(logits), features=turned(x), logits=logits)
            if auxiliary is not None:
                outputs['auxiliary_scores'] = scores(turned(auxiliary(x).astype(jnp.float32)))
            return outputs

        momentum = _MOMENTUM ** len(views)
        encoded = image.astype(self.dtype)
        if self.variant == 'F5':
            encoded = ResNet18(self.output_stride, momentum, dtype=self.dtype, name='resnet')(encoded, train=train)
        elif self.variant != 'F1':
            encoded = Stem(self.output_stride, momentum, self.dtype, name='stem')(encoded, train=train)
        encoded = run(encoded, range(unmasked), None)
        return [view(ordering) for ordering in views]

    def _shift(self, index: int) -> orderings.Shift:
        return ('top', 'left')[index % 2] if self.zigzag == 'alternate' else self.zigzag


class Stem(nn.Module):
    """Convolutional stem (supplement, Table 1): 3x3 convolution to 64 channels, batch norm, ReLU, 3x3 max pool."""

    output_stride: int
    momentum: float
    dtype: layers.Dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], *, train: bool
    ) -> Float[Array, 'batch out_height out_width 64']:
        x = layers.MaskedConv(_STEM_CHANNELS, stride=self.output_stride // 2, dtype=self.dtype, name='conv')(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=self.momentum, dtype=self.dtype, name='norm')(x)
        return nn.max_pool(nn.relu(x), (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


class MaskedStem(nn.Module):
    """Stem of the fully autoregressive model: no batch norm, and a strided masked convolution for the max pool.

    Features are in the frame of the ordering, where a strided convolution is anchored at the first visited pixel of each
    cell. The second convolution is followed by no ReLU, like the pooling it stands for.
    """

    output_stride: int
    zigzag_shift: orderings.Shift
    dtype: layers.Dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], ordering: Ordering | None
    ) -> Float[Array, 'batch out_height out_width 64']:
        def conv(stride, name):
            return layers.MaskedConv(_STEM_CHANNELS, stride=stride, zigzag_shift=self.zigzag_shift, dtype=self.dtype, name=name)

        x = nn.relu(conv(self.output_stride // 2, 'conv')(x, ordering))
        return conv(2, 'down')(x, ordering)
