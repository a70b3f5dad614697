"""What the images of a run are like, by which new ones are brought to the same."""

import dataclasses
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num, UInt8

from ar_seg_jax.data import bands, images, limits
from ar_seg_jax.data.limits import DataError

_MAX_FACTOR = 1000  # of the scale of images, to both sides


@dataclasses.dataclass(frozen=True)
class Form:
    """Channels, depth and scale.

    channels: 3 (RGB, see `images`), or 4 to 16 bands as they are stored. rescale: size relative to the raw images. shorter_side:
    in pixels; where not 0, all images are brought to it, whatever `rescale` is. ranges: what of each band becomes 0 and 255 (see
    `bands`), or nothing where images have 8 bits.

    DataError where that cannot be.
    """

    channels: int = 3
    rescale: float = 1.0
    shorter_side: int = 0
    ranges: bands.Ranges = ()

    def __post_init__(self):
        channels, rescale, side = self.channels, self.rescale, self.shorter_side
        if type(channels) is not int or not 3 <= channels <= bands.MOST:
            raise DataError(f'images have 3 channels (RGB) or up to {bands.MOST} (as stored), found {reprlib.repr(channels)}')
        if type(rescale) not in (int, float) or not 1 / _MAX_FACTOR <= rescale <= _MAX_FACTOR:
            raise DataError(f'rescale is a number from {1 / _MAX_FACTOR} to {_MAX_FACTOR}, found {reprlib.repr(rescale)}')
        if type(side) is not int or not 0 <= side <= limits.MAX_SIDE:
            raise DataError(f'shorter_side is a number of pixels up to {limits.MAX_SIDE}, found {reprlib.repr(side)}')
        if self.ranges and not self._fitting():
            raise DataError(
                f'ranges are two finite numbers, the first the lower one, of each channel; found {reprlib.repr(self.ranges)}'
            )

    def _fitting(self) -> bool:
        try:
            found = np.array(self.ranges, np.float64)
        except (TypeError, ValueError):
            return False
        return found.shape == (self.channels, 2) and bool(np.isfinite(found).all() and (found[:, 0] < found[:, 1]).all())

    @classmethod
    def from_json(cls, path: Path, content: Mapping[str, Any]) -> 'Form':
        """What `path` says; older runs know nothing of shorter sides and ranges."""
        try:
            found = cls(**{field.name: content[field.name] for field in dataclasses.fields(cls) if field.name in content})
        except DataError as error:
            raise DataError(f'{path}: {error}') from error
        return dataclasses.replace(found, ranges=tuple(map(tuple, found.ranges)))

    def read(self, path: Path) -> Num[np.ndarray, 'height width channels']:
        """An image as it is stored, at its own size. DataError for a file that cannot be used, or is too large when scaled."""
        rgb = self.channels == 3 and not self.ranges
        image = images.read_image(path) if rgb else bands.read(path, self.channels)
        if image.dtype != np.uint8 and not self.ranges:
            raise DataError(f'{path}: expected 8 bits, as the training images have, found {image.dtype}')
        images.check_rescaled(path, image, self.rescale, self.shorter_side)
        return image

    def to_8_bits(self, image: Num[np.ndarray, '*size channels']) -> UInt8[np.ndarray, '*size channels']:
        """An image as it is stored, in 8 bits."""
        return bands.to_8_bits(image, self.ranges) if self.ranges else image

    def scaled(self, image: UInt8[np.ndarray, '...'], label: bool = False) -> UInt8[np.ndarray, '...']:
        """An image, or a label map, at the scale of the training."""
        return images.rescale(image, self.rescale, label, self.shorter_side)
