"""ResNet-18 without its classifier, dense as in AC's F5 or strided as published."""

import flax.linen as nn
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.models.convolution import Conv

_STEM_SIZE = 7
_HE = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')  # He et al. 2015, Equation 14


class ResNet18(nn.Module):
    """The four stages of ResNet-18 (He et al. 2016, Table 1), of two basic blocks each, after a 7x7 convolution and a max pool.

    Padding is explicit and symmetric, so that the cell i of a map whose cells are s pixels apart is centred at pixel s * i, as in
    torchvision. Flax moves running variances towards the biased variance of a batch, torch towards the unbiased one, which
    differs by 1 in the number of cells.

    stem_stride: of the convolution. strides, dilations: of the stages. width: channels of the first stage; each of the others has
    twice those of the one before. kernel_init: of all convolutions, which have no bias.
    """

    stem_stride: int
    strides: tuple[int, int, int, int]
    dilations: tuple[int, int, int, int]
    width: int
    kernel_init: nn.initializers.Initializer
    dtype: layers.Dtype

    @property
    def reach(self) -> int:
        """Pixels beyond which a cell of the last map does not depend on the image, on any side."""
        stride = 2 * self.stem_stride
        reach = _STEM_SIZE // 2 + self.stem_stride
        for stage_stride, dilation in zip(self.strides, self.dilations, strict=True):
            first, others = stride, 3 * stride * stage_stride  # only the first convolution of a stage sees the cells before it
            reach += (first + others) * dilation
            stride *= stage_stride
        return reach

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], momentum: float = 0.9, *, train: bool = False
    ) -> list[Float[Array, 'batch map_height map_width _']]:
        """Maps after each stage, the finest first; `momentum`: of running statistics."""

        def conv(features, size, name, stride=1, dilation=1):
            def apply(x):
                x = Conv(features, size, stride, dilation, self.kernel_init, self.dtype, name=f'{name}_conv')(x)
                return layers.batch_norm(train, momentum=momentum, dtype=self.dtype, name=f'{name}_norm')(x)

            return apply

        x = nn.relu(conv(self.width, _STEM_SIZE, 'stem', self.stem_stride)(x))
        x = layers.max_pool(x, 3, 2, ((1, 1), (1, 1)))
        maps = []
        for stage, (stage_stride, dilation) in enumerate(zip(self.strides, self.dilations, strict=True)):
            features = self.width * 2**stage
            for block in range(2):
                name, stride = f'stage{stage}_block{block}', 1 if block else stage_stride
                residual = nn.relu(conv(features, 3, f'{name}_0', stride, dilation)(x))
                residual = conv(features, 3, f'{name}_1', dilation=dilation)(residual)
                shortcut = x if x.shape[-1] == features else conv(features, 1, f'{name}_shortcut', stride)(x)
                x = nn.relu(residual + shortcut)
            maps.append(x)
        return maps


def dilated(output_stride: int, dtype: layers.Dtype) -> ResNet18:
    """ResNet-18 whose later stages are dilated instead of strided, as a dense encoder of 512 channels.

    The papers of AC and ARL name the network but not how it is made dense. Here the 7x7 convolution (stride 2 for an output
    stride of 4, else 1) and the max pool are all the striding there is, and stages 2 to 4 dilate by 2, 4 and 8.
    """
    return ResNet18(output_stride // 2, (1, 1, 1, 1), (1, 2, 4, 8), 64, layers.xavier, dtype)


def strided(width: int, dtype: layers.Dtype) -> ResNet18:
    """ResNet-18 as published and as in torchvision, for `width` 64: maps of stride 4, 8, 16 and 32, drawn as torchvision does."""
    return ResNet18(2, (1, 2, 2, 2), (1, 1, 1, 1), width, _HE, dtype)
