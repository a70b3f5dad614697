"""Reading image and label files of unknown origin: one rule for every kind, or a refusal that names the file.

Images become 8 bits a channel. Greyscale (1 or 8 bits) and palette images become RGB; an alpha channel is dropped; CMYK and
other three-channel spaces are converted by Pillow's formulas, without colour profiles; the EXIF orientation is applied.
16-bit, 32-bit and floating-point images are refused, because there is no one right way to 8 bits.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from ar_seg_jax.interfaces import VOID

SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.bmp', '.webp')
_CONVERTIBLE = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr', 'LAB', 'HSV')

# What Pillow's decoders raise on damaged files, besides its own errors.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError, struct.error)


class DataError(ValueError):
    """An input file or folder that cannot be used; the message names it, what was found and what to do."""


def open_image(path: Path, decode: bool = True) -> Image.Image:
    """Opens a file, and decodes its pixels; to be used in a `with`. DataError if it is not a whole image of sane size."""
    try:
        if not path.stat().st_size:
            raise DataError(f'{path}: the file is empty; remove it or fetch it again')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', UserWarning)  # odd metadata; the pixels are what counts
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            image = Image.open(path)
            if decode:
                image.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f'{path}: {error}. The limit guards against files made to exhaust memory; cut the image into smaller tiles'
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(f'{path}: not an image that Pillow can read; expected one of {", ".join(SUFFIXES)}') from error
    except FileNotFoundError as error:
        raise DataError(f'{path}: no such file') from error
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(f'{path}: damaged or truncated image ({error}); remove it or fetch it again') from error
    return image


def read_image(path: Path, channels: int = 3) -> UInt8[np.ndarray, 'height width {channels}']:
    """An image with 3 (RGB) or 4 (four bands as stored, such as RGBIR) channels; see the rules of this module."""
    if channels == 4:
        return _read_bands(path)
    with open_image(path) as image:
        if image.mode not in _CONVERTIBLE:
            raise DataError(
                f'{path}: pixels of mode {image.mode!r} (more than 8 bits a channel) have no fixed conversion to 8 bits; '
                'rescale them to 8 bits first, with one range for the whole data set'
            )
        # Dropping the alpha band, rather than compositing, keeps the colours stored below it.
        return np.array(ImageOps.exif_transpose(image).convert('RGB'))


def read_size(path: Path) -> tuple[int, int]:
    """Height and width of an image, from its header."""
    if _is_tiff(path):
        with _open_tiff(path) as file:
            return file.pages[0].imagelength, file.pages[0].imagewidth
    with open_image(path, decode=False) as image:
        return image.height, image.width


def _read_bands(path: Path) -> UInt8[np.ndarray, 'height width 4']:
    """Four bands of 8 bits. TIFF goes through tifffile, since Pillow drops or refuses a fourth band of unspecified meaning."""
    if _is_tiff(path):
        with _open_tiff(path) as file:
            try:
                bands = file.pages[0].asarray()
            except (tifffile.TiffFileError, zlib.error, *_DAMAGED) as error:
                raise DataError(
                    f'{path}: cannot read the bands of this TIFF file ({error}); fetch it again, or rewrite it uncompressed'
                ) from error
    else:
        with open_image(path) as image:
            bands = np.array(image)
    if bands.ndim == 3 and bands.shape[0] == 4 and bands.shape[2] != 4:
        bands = np.moveaxis(bands, 0, 2)  # stored plane by plane
    if bands.ndim != 3 or bands.shape[2] != 4 or bands.dtype != np.uint8:
        raise DataError(f'{path}: expected four bands (R, G, B, IR) of 8 bits, found {bands.dtype} of shape {bands.shape}')
    return bands


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in ('.tif', '.tiff')


def _open_tiff(path: Path) -> tifffile.TiffFile:
    try:
        file = tifffile.TiffFile(path)
        pixels = file.pages[0].imagelength * file.pages[0].imagewidth
    except (tifffile.TiffFileError, *_DAMAGED) as error:
        raise DataError(f'{path}: cannot read this TIFF file ({error}); fetch it again') from error
    if pixels > Image.MAX_IMAGE_PIXELS:
        file.close()
        raise DataError(f'{path}: {pixels} pixels exceed the limit of {Image.MAX_IMAGE_PIXELS}; cut the image into smaller tiles')
    return file


def read_ids(path: Path) -> UInt8[np.ndarray, 'height width']:
    """A label map whose pixel values are class ids: an 8-bit greyscale or palette image, the palette not applied."""
    with open_image(path) as image:
        if image.mode not in ('L', 'P', '1'):
            raise DataError(f'{path}: expected an 8-bit greyscale or palette label map, found mode {image.mode!r}')
        return np.array(image, np.uint8)


def read_colours(path: Path, colours: Sequence[tuple[int, int, int]], tolerance: int = 0) -> UInt8[np.ndarray, 'height width']:
    """A label map drawn in class colours, as the index of each colour; DataError names a colour that is none of them.

    Channels within `tolerance` of 0 or 255 count as these.
    """
    with open_image(path) as image:
        if image.mode not in ('RGB', 'P', 'RGBA'):
            raise DataError(f'{path}: expected a label map in class colours, found mode {image.mode!r}')
        pixels = np.array(image.convert('RGB'))
    levels = np.arange(256, dtype=np.uint8)
    levels[: tolerance + 1], levels[255 - tolerance :] = 0, 255
    packed = _pack(levels[pixels])
    ids = np.full(packed.shape, VOID, np.uint8)
    known = np.zeros(packed.shape, bool)
    for index, colour in enumerate(colours):
        match = packed == _pack(np.array([colour]))
        ids[match], known = index, known | match
    if not known.all():
        row, column = np.argwhere(~known)[0]
        raise DataError(
            f'{path}: unknown label colour {tuple(map(int, pixels[row, column]))} at row {row}, column {column} '
            f'({(~known).sum()} such pixels); the colours are {[tuple(colour) for colour in colours]}'
        )
    return ids


def check_same_size(path: Path, label: np.ndarray, image: np.ndarray):
    """DataError unless a label map has the size of its image."""
    if label.shape[:2] != image.shape[:2]:
        raise DataError(
            f'{path}: the label map is {label.shape[1]} x {label.shape[0]} pixels but its image '
            f'{image.shape[1]} x {image.shape[0]}; both must be the same size'
        )


def map_ids(path: Path, ids: UInt8[np.ndarray, 'height width'], mapping: dict[int, int]) -> UInt8[np.ndarray, 'height width']:
    """Class ids through `mapping`; DataError names an id that is not in it. VOID may always occur and stays VOID."""
    table = np.full(256, -1)
    table[VOID] = VOID
    table[list(mapping)] = list(mapping.values())
    mapped = table[ids]
    if (mapped < 0).any():
        unknown = sorted(map(int, np.unique(ids[mapped < 0])))
        raise DataError(f'{path}: unknown label ids {unknown}; the known ids are {sorted(mapping)} and {VOID} for no label')
    return mapped.astype(np.uint8)


def rescale(image: UInt8[np.ndarray, '...'], factor: float, label: bool = False) -> UInt8[np.ndarray, '...']:
    """Image (bilinear, with antialiasing) or label map (nearest) at `factor` times its size, at least one pixel."""
    if factor == 1:
        return image
    size = tuple(max(1, round(side * factor)) for side in (image.shape[1], image.shape[0]))
    method = Image.Resampling.NEAREST if label else Image.Resampling.BILINEAR
    if image.ndim == 3 and image.shape[2] == 4:  # Pillow would premultiply the fourth band as alpha
        return np.stack([np.array(Image.fromarray(band).resize(size, method)) for band in np.moveaxis(image, 2, 0)], axis=2)
    return np.array(Image.fromarray(image).resize(size, method))


def encode_png(array: UInt8[np.ndarray, '...']) -> bytes:
    """PNG bytes of an image or label map, lightly compressed."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, 'png', compress_level=1)
    return stream.getvalue()


def _pack(colour: np.ndarray) -> np.ndarray:
    """RGB as one number."""
    red, green, blue = np.moveaxis(colour.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue
