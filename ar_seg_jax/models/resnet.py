"""ResNet-18 as a dense encoder."""

import flax.linen as nn
from jaxtyping import Array, Float

from ar_seg_jax import layers

_DILATIONS = (1, 2, 4, 8)  # of the stages


class ResNet18(nn.Module):
    """ResNet-18 (He et al. 2016) whose later stages are dilated instead of strided, with 512 output channels.

    The papers name the network but not how it is made dense. Here the 7x7 convolution (stride 2 for an output stride of
    4, else 1) and the max pool are all the striding there is, and stages 2 to 4 dilate by 2, 4 and 8.
    """

    output_stride: int
    dtype: layers.Dtype

    @staticmethod
    def reach(output_stride: int) -> int:
        """Pixels beyond which a cell does not depend on the image, on any side."""
        stem = 3 + output_stride // 2
        return stem + output_stride * sum(4 * dilation for dilation in _DILATIONS)

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], momentum: float = 0.9, *, train: bool = False
    ) -> Float[Array, 'batch map_height map_width 512']:
        def conv(features, size, name, stride=1, dilation=1):
            def apply(x):
                x = _Conv(features, size, stride, dilation, self.dtype, name=f'{name}_conv')(x)
                return nn.BatchNorm(use_running_average=not train, momentum=momentum, dtype=self.dtype, name=f'{name}_norm')(x)

            return apply

        x = nn.relu(conv(64, 7, 'stem', stride=self.output_stride // 2)(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, features in enumerate((64, 128, 256, 512)):
            for block in range(2):
                name = f'stage{stage}_block{block}'
                residual = nn.relu(conv(features, 3, f'{name}_0', dilation=_DILATIONS[stage])(x))
                residual = conv(features, 3, f'{name}_1', dilation=_DILATIONS[stage])(residual)
                shortcut = x if x.shape[-1] == features else conv(features, 1, f'{name}_shortcut')(x)
                x = nn.relu(residual + shortcut)
        return x


class _Conv(nn.Module):
    """Centred convolution without a bias, for a batch norm to follow."""

    features: int
    size: int
    stride: int
    dilation: int
    dtype: layers.Dtype

    @nn.compact
    def __call__(self, x):
        kernel = self.param('kernel', layers.xavier, (self.size, self.size, x.shape[-1], self.features))
        half = self.size // 2 * self.dilation
        padding = ((half, half), (half, half))
        return layers.convolve(x.astype(self.dtype), kernel.astype(self.dtype), padding, self.stride, self.dilation)
