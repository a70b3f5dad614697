"""The inputs that published encoders were trained with, by the names that options have."""

from collections.abc import Mapping
from typing import Literal

from ar_seg_jax.interfaces import Normalisation

Name = Literal['none', 'imagenet', 'half']

# RGB, of images in [0, 1]. 'imagenet': mean and deviation of its training images, for torchvision, DINO, DINOv2, MiT and PiCIE.
# 'half': images in [-1, 1], for the ViTs of Google (AugReg) and of timm that are called `augreg`.
NORMALISATIONS: Mapping[Name, Normalisation] = {
    'none': Normalisation(),
    'imagenet': Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    'half': Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
