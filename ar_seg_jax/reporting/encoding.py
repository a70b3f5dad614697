"""Pictures of bounded size."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from ar_seg_jax.data import images
from ar_seg_jax.data.classes import Class
from ar_seg_jax.drawing import label_maps
from ar_seg_jax.reporting.account import Picture

LONGEST = 480  # pixels of the longer side
_QUALITY = 80  # of JPEG, of 100


def photograph(image: UInt8[np.ndarray, 'height width channels'], words: str, longest: int = LONGEST) -> Picture:
    """The first three channels as JPEG."""
    colours = images.resize(np.ascontiguousarray(image[..., :3]), *_bounded(*image.shape[:2], longest))
    return _encoded(Image.fromarray(colours), 'jpeg', words, quality=_QUALITY, optimize=True)


def painted(label: Integer[np.ndarray, 'height width'], classes: Sequence[Class], words: str) -> Picture:
    """A label map in the colours of its classes as PNG, of the size that its image has as a `photograph`."""
    smaller = images.resize(label.astype(np.uint8), *_bounded(*label.shape, LONGEST), label=True)
    return _encoded(label_maps.palette_image(smaller, classes), 'png', words, optimize=True)


def _bounded(height: int, width: int, longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(height, width))
    return max(1, round(scale * height)), max(1, round(scale * width))


def _encoded(image: Image.Image, kind: str, words: str, **options) -> Picture:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return Picture(stream.getvalue(), kind, image.width, image.height, words)
