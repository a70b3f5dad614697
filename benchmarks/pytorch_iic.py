"""IIC training in PyTorch, as its paper and released code describe it (Ji et al. 2019): what benchmarks compare with.

It is proved equal to the package by tests/benchmarks/test_pytorch_iic.py, with the paper's geometry. The loss is IIC's big
convolution, of which each output is the joint of one displacement, with entropy weight 1, and clamps probabilities in the
logarithm alone. Changed images are given: IIC's loader makes them, beside the training step.

Images and maps are (batch, channels, height, width).
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import pytorch_reference as reference

_LAYERS = ((1, 1), (2, 1), (4, 1), (4, 1), (8, 2), (8, 2))  # width, in shares of the first, and dilation


class Network(nn.Module):
    """IIC's network for segmentation; parameters have the names they have in the package. heads: clusters by name."""

    def __init__(self, channels: int, width: int, heads: Mapping[str, int]):
        super().__init__()
        before = channels
        for index, (share, dilation) in enumerate(_LAYERS):
            self.add_module(f'conv_{index}', nn.Conv2d(before, share * width, 3, padding=1, dilation=dilation, bias=False))
            self.add_module(f'norm_{index}', nn.BatchNorm2d(share * width))
            before = share * width
        for name, clusters in heads.items():
            self.add_module(name, nn.Conv2d(before, clusters, 1, padding=1, bias=False))

    def forward(self, image: Tensor, head: str) -> Tensor:
        """Cluster probabilities at the pixels of images in [0, 1]."""
        x = image
        for index in range(len(_LAYERS)):
            x = F.relu(getattr(self, f'norm_{index}')(getattr(self, f'conv_{index}')(x)))
            if index == 1:
                x = F.max_pool2d(x, 2)
        return F.interpolate(getattr(self, head)(x).softmax(1), image.shape[2:], mode='bilinear', align_corners=False)


def loss(network: Network, image: Tensor, changed: Tensor, flipped: Tensor, head: str, displacement: int) -> Tensor:
    """That of one head, of images and changed images in [0, 1]; each view has a pass of its own.

    flipped: which of the changed images were flipped left to right, which is undone on the maps.
    """
    first, second = network(image, head), network(changed, head)
    second = torch.where(flipped[:, None, None, None], second.flip(3), second)
    return reference.information_loss(first, second, displacement, collapsed=False)
