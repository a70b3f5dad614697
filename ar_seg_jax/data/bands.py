"""Images of any number of bands and any depth, and the ranges of their values that become 8 bits.

What has more than 8 bits has no levels that are black and white by themselves. So the training images say, band by band, between
which of their values nearly all pixels lie; new images are brought to 8 bits by the same numbers.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Num, Shaped, UInt8

from ar_seg_jax.data import coverage, images, tiff
from ar_seg_jax.data.limits import DataError

MOST = 16  # bands
_COLOURS = 3
# Pillow's modes of more than 8 bits.
_MODES = {'I': np.int32, 'F': np.float32, **dict.fromkeys(('I;16', 'I;16L', 'I;16B', 'I;16N'), np.uint16)}
_SAMPLE, _FEWEST = 4_000_000, 100  # pixels of all images that percentiles are of, and of one at least

Ranges = Sequence[Sequence[float]]  # of each band, what becomes 0 and what becomes 255; none for images of 8 bits


def read(path: Path, channels: int) -> Num[np.ndarray, 'height width {channels}']:
    """An image as it is stored, with so many bands.

    With 3 channels an alpha band is dropped, and the last of fewer bands repeated, as that of greyscale images. DataError unless
    it then has so many bands, of real numbers of at most 32 bits.
    """
    if tiff.is_tiff(path):
        return fitting(tiff.read(path), channels, tiff.has_alpha(path), path)
    return fitting(_through_pillow(path), channels, True, path)


def fitting(
    stored: Shaped[np.ndarray, 'height width _'], channels: int, alpha: bool, path: Path
) -> Num[np.ndarray, 'height width {channels}']:
    """All bands of an image as `read` has them. alpha: whether the last one says how opaque pixels are."""
    if stored.dtype.kind not in 'uif' or stored.dtype.itemsize > 4:
        raise DataError(f'{path}: expected numbers of 8, 16 or 32 bits, found {stored.dtype}; convert the image first')
    if channels == _COLOURS:
        stored = _three(stored, alpha)
    if stored.shape[2] != channels:
        advice = f'set --config.data.channels={stored.shape[2]}' if _COLOURS <= stored.shape[2] <= MOST else 'remove some'
        raise DataError(
            f'{path}: expected {channels} bands, found {stored.shape[2]} of {stored.dtype}; {advice}, if all images are so'
        )
    return stored


def dtype(path: Path) -> np.dtype:
    """What the numbers of an image are, from its header."""
    if tiff.is_tiff(path):
        with tiff.open_page(path) as page:
            if page.dtype is None:
                raise DataError(f'{path}: numbers of {page.bitspersample} bits are of no known kind; convert the image first')
            return page.dtype
    with images.open_image(path, decode=False) as image:
        return np.dtype(_MODES.get(image.mode, np.uint8))


def ranges(paths: Sequence[Path], training: Sequence[Path], channels: int, percentiles: tuple[float, float]) -> Ranges:
    """These percentiles of each band over the `training` images, or nothing if all images have 8 bits.

    They are of four million pixels, evenly spread; of many images not all are read. Pixels without data do not count. A band with
    one value has a range of 1. DataError where some images have 8 bits and others more, since no range fits both.
    """
    deep = {}
    for path in paths:
        with contextlib.suppress(DataError):  # is told when the image is read
            deep[path] = dtype(path).itemsize > 1
    if not any(deep.values()):
        return ()
    if not all(deep.values()):
        example, other = next(path for path in deep if deep[path]), next(path for path in deep if not deep[path])
        raise DataError(f'{other} has 8 bits and {example} {8 * dtype(example).itemsize}; bring all images to one depth first')
    training = training[:: -(-len(training) * _FEWEST // _SAMPLE)]
    each = max(_FEWEST, _SAMPLE // len(training))
    taken = []
    for path in training:
        with contextlib.suppress(DataError):
            taken.append(_spread(path, channels, each))
    if not taken:
        return ()
    sampled = np.concatenate(taken)
    sampled[~np.isfinite(sampled)] = np.nan
    if (empty := np.isnan(sampled).all(axis=0)).any():
        raise DataError(f'band {int(np.argmax(empty))} of {training[0]} and all other training images has no finite number')
    lows, highs = np.nanpercentile(sampled, percentiles, axis=0).tolist()
    return tuple((low, high if high > low else low + 1) for low, high in zip(lows, highs, strict=True))


def to_8_bits(stored: Num[np.ndarray, '*size channels'], ranges: Ranges) -> UInt8[np.ndarray, '*size channels']:
    """Each band from its range to 0 to 255, rounded; what is beyond gets the nearest of these, and what is no number 0."""
    found = np.empty(stored.shape, np.uint8)
    for band, (low, high) in enumerate(ranges):  # one at a time, since numbers of 64 bits take eight times the memory
        levels = (stored[..., band].astype(np.float64) - low) * (255 / (high - low))
        found[..., band] = np.nan_to_num(levels, nan=0, posinf=255, neginf=0).clip(0, 255).round()
    return found


def _three(stored: Shaped[np.ndarray, 'height width _'], alpha: bool) -> Shaped[np.ndarray, 'height width _']:
    count = stored.shape[2]
    if count in (2, 4) and alpha:
        count -= 1
    return stored[..., np.minimum(np.arange(max(count, _COLOURS)), count - 1)]


def _through_pillow(path: Path) -> Shaped[np.ndarray, 'height width bands']:
    with images.open_image(path) as image:
        pixels = np.array(image)
    return pixels.reshape(*pixels.shape[:2], -1)


def _spread(path: Path, channels: int, count: int) -> Float64[np.ndarray, '_ {channels}']:
    """About so many pixels of an image, evenly spread; those without data are not there."""
    stored = read(path, channels)
    covered = coverage.covered(path, stored)
    step = max(1, int((stored.shape[0] * stored.shape[1] / count) ** 0.5))
    taken = stored[::step, ::step].astype(np.float64)
    return taken.reshape(-1, channels) if covered is None else taken[covered[::step, ::step]]
