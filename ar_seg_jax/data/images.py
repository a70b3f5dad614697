"""Reading image and label files of unknown origin: one rule for every kind, or a refusal that names the file.

Images become 8 bits a channel. Greyscale (1 or 8 bits) and palette images become RGB; an alpha channel is dropped; CMYK and
other three-channel spaces are converted by Pillow's formulas, without colour profiles; the EXIF orientation is applied.
16-bit, 32-bit and floating-point images are refused, because there is no one right way to 8 bits.

Files are not trusted: memory and time are bounded by limits on the pixels, on the sides and on the file, which are checked
before anything is decoded.
"""

import contextlib
import io
import math
import re
import reprlib
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID

SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.bmp', '.webp')
# Whatever a file is called. Pillow knows dozens more, each a parser to trust, and for EPS it starts Ghostscript.
_FORMATS = ('JPEG', 'PNG', 'TIFF', 'BMP', 'WEBP')
_CONVERTIBLE = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr', 'LAB', 'HSV')

_MAX_SIDE = 65_535  # pixels, the most that JPEG has; the work on a needle grows with its length, not with its pixels
_MAX_FACTOR = 1000  # of the scale of images, to both sides
_MAX_BYTES = 2**31  # of a file; parsers read parts of it, or all, at once
_MAX_SCANS = 100  # of a progressive JPEG, libtiff's limit; each goes over all pixels and may take a few bytes of the file

# Compressions of four-band TIFF files: none, LZW, and two names of deflate. Others tifffile refuses or expands without end.
_COMPRESSIONS = (1, 5, 8, 32946)
_DEFLATE = (8, 32946)

# What Pillow and tifffile raise on damaged files, besides their own errors: whatever their parsers did not foresee.
_DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tifffile.TiffFileError,
    zlib.error,
)

# A JPEG marker that is neither padding nor a restart, which belongs to the data of a scan.
_MARKER = re.compile(rb'\xff([\xc0-\xcf\xd8-\xfe])')
_START_OF_SCAN, _END = 0xDA, 0xD9


class DataError(UserError):
    """An input file or folder that cannot be used; the message names it, what was found and what to do."""


def check_file(path: Path):
    """DataError unless this is a regular file of sane size: reading a pipe would wait for ever, a device never end."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise DataError(f'{path}: no such file{", only a link to it" if path.is_symlink() else ""}') from error
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror})') from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f'{path}: not a regular file; remove it')
    if not status.st_size:
        raise DataError(f'{path}: the file is empty; remove it or fetch it again')
    if status.st_size > _MAX_BYTES:
        raise DataError(f'{path}: {status.st_size} bytes exceed the limit of {_MAX_BYTES}, more than such a file can need')


def check_size(name: Path | str, height: int, width: int):
    """DataError for images too large to be worked on; `name` is what the message calls it."""
    if height * width > Image.MAX_IMAGE_PIXELS or max(height, width) > _MAX_SIDE:
        raise DataError(
            f'{name}: {width} x {height} pixels exceed the limit of {Image.MAX_IMAGE_PIXELS}, or {_MAX_SIDE} a side, which '
            'guards against files made to exhaust memory; cut the image into smaller tiles'
        )


def check_form(name: Path | str, channels: Any, rescale: Any):
    """DataError unless images can have so many channels and be brought to such a scale; `name` says where this is written."""
    if channels not in (3, 4):
        raise DataError(f'{name}: images have 3 channels (RGB) or 4 (as stored), found {reprlib.repr(channels)}')
    if type(rescale) not in (int, float) or not 1 / _MAX_FACTOR <= rescale <= _MAX_FACTOR:
        raise DataError(f'{name}: rescale is a number from {1 / _MAX_FACTOR} to {_MAX_FACTOR}, found {reprlib.repr(rescale)}')


def check_rescaled(path: Path, image: UInt8[np.ndarray, '...'], factor: float):
    """DataError if the image is too large to be worked on at `factor` times its size."""
    width, height = _rescaled(image, factor)
    check_size(f'{path} at {factor} times its size', height, width)


@contextlib.contextmanager
def open_image(path: Path, decode: bool = True) -> Iterator[Image.Image]:
    """Opens a file, and decodes its pixels. DataError if it is not a whole image of sane size.

    What Pillow raises in the `with` is one too, since some files show their damage only when they are converted. So no more
    than that should happen there.
    """
    check_file(path)
    with _refusing(path, 'damaged or truncated image', 'remove it or fetch it again'), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # odd metadata, where the pixels are what counts; and sizes, which are checked here
        with Image.open(path, formats=_FORMATS) as image:
            check_size(path, image.height, image.width)
            if decode:
                if image.format in ('JPEG', 'MPO'):
                    _check_scans(path)
                image.load()
            yield image


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
        image.getexif()  # is kept, and the rest of the metadata can then do no harm: turning the image would write it anew
        image.info.clear()
        # Dropping the alpha band, rather than compositing, keeps the colours stored below it.
        return np.array(ImageOps.exif_transpose(image).convert('RGB'))


def read_size(path: Path) -> tuple[int, int]:
    """Height and width of an image, from its header."""
    if _is_tiff(path):
        with _open_tiff(path) as page:
            return page.imagelength, page.imagewidth
    with open_image(path, decode=False) as image:
        return image.height, image.width


def decode_png(encoded: bytes, name: str, modes: Sequence[str]) -> UInt8[np.ndarray, '...']:
    """The pixels of an encoded PNG image as stored. DataError, which calls it `name`, unless its mode is one of `modes`."""
    with _refusing(name, 'damaged image', 'prepare the data again'), Image.open(io.BytesIO(encoded), formats=['PNG']) as image:
        check_size(name, image.height, image.width)
        if image.mode not in modes:
            raise DataError(f'{name}: expected an image of mode {" or ".join(modes)}, found {image.mode}')
        return np.array(image)


@contextlib.contextmanager
def _refusing(name: Path | str, problem: str, advice: str) -> Iterator[None]:
    """Turns what a parser raises into a DataError."""
    try:
        yield
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f'{name}: {error} Cut the image into smaller tiles') from error
    except UnidentifiedImageError as error:
        raise DataError(f'{name}: not an image that Pillow can read; the formats are {", ".join(_FORMATS)}') from error
    except _DAMAGED as error:
        raise DataError(f'{name}: {problem} ({error}); {advice}') from error


def _check_scans(path: Path):
    """DataError for a JPEG file with more scans than any camera or program makes."""
    content, place, count = path.read_bytes(), 2, 0
    while (marker := _MARKER.search(content, place)) and marker[1][0] != _END:
        count += marker[1][0] == _START_OF_SCAN
        place = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], 'big')
    if count > _MAX_SCANS:
        raise DataError(f'{path}: {count} scans exceed the limit of {_MAX_SCANS}; save the image anew')


def _read_bands(path: Path) -> UInt8[np.ndarray, 'height width 4']:
    """Four bands of 8 bits. TIFF goes through tifffile, since Pillow drops or refuses a fourth band of unspecified meaning."""
    if _is_tiff(path):
        with _open_tiff(path) as page:
            _check_bands(path, page.shape, page.dtype)
            _check_segments(path, page)
            bands = page.asarray()
    else:
        with open_image(path) as image:
            bands = np.array(image)
    _check_bands(path, bands.shape, bands.dtype)  # also of TIFF, where damaged tags contradict each other
    return bands if bands.shape[2] == 4 else np.moveaxis(bands, 0, 2)  # stored pixel by pixel, or plane by plane


def _check_bands(path: Path, shape: Sequence[int], dtype: np.dtype | None):
    if dtype != np.uint8 or len(shape) != 3 or 4 not in (shape[2], shape[0]):
        raise DataError(f'{path}: expected four bands (R, G, B, IR) of 8 bits, found {dtype} of shape {shape}')


def _is_tiff(path: Path) -> bool:
    """Whether a file begins as TIFF files do, whatever it is called; DataError if it is no regular file."""
    check_file(path)
    with _refusing(path, 'cannot read the file', 'fetch it again'), path.open('rb') as file:
        return file.read(4) in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


@contextlib.contextmanager
def _open_tiff(path: Path) -> Iterator[tifffile.TiffPage]:
    """The first page of a file. DataError as in `open_image`."""
    with (
        _refusing(path, 'cannot read this TIFF file', 'fetch it again, or rewrite it uncompressed'),
        tifffile.TiffFile(path) as file,
    ):
        page = file.pages[0]
        check_size(path, page.imagelength, page.imagewidth)
        yield page


def _check_segments(path: Path, page: tifffile.TiffPage):
    """DataError for strips or tiles that decode to more than the image has room for, which tifffile would find out too late."""
    size = math.prod(page.chunks) * page.dtype.itemsize  # bytes
    if page.compression not in _COMPRESSIONS:
        raise DataError(
            f'{path}: compression {page.compression} of a four-band TIFF file is not supported; rewrite it uncompressed'
        )
    if size > 4 * Image.MAX_IMAGE_PIXELS:
        raise DataError(f'{path}: damaged image, whose strips or tiles are larger than itself; fetch it again')
    if page.compression in _DEFLATE:
        for segment, index in page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts):
            if segment and len(zlib.decompressobj().decompress(segment, size + 1)) > size:
                raise DataError(f'{path}: damaged image, strip or tile {index} expands to more than its {size} bytes')


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
    width, height = _rescaled(image, factor)
    return resize(image, height, width, label)


def resize(image: UInt8[np.ndarray, '...'], height: int, width: int, label: bool = False) -> UInt8[np.ndarray, '...']:
    """The same at a given size."""
    if image.shape[:2] == (height, width):
        return image
    size = width, height
    method = Image.Resampling.NEAREST if label else Image.Resampling.BILINEAR
    if image.ndim == 3 and image.shape[2] == 4:  # Pillow would premultiply the fourth band as alpha
        return np.stack([np.array(Image.fromarray(band).resize(size, method)) for band in np.moveaxis(image, 2, 0)], axis=2)
    return np.array(Image.fromarray(image).resize(size, method))


def _rescaled(image: np.ndarray, factor: float) -> tuple[int, int]:
    """Width and height at `factor` times the size."""
    return max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))


def encode_png(array: UInt8[np.ndarray, '...']) -> bytes:
    """PNG bytes. Those of images are not compressed: the files of records compress all they hold, and decode it faster."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, 'png', compress_level=int(array.ndim == 2))
    return stream.getvalue()


def _pack(colour: np.ndarray) -> np.ndarray:
    """RGB as one number."""
    red, green, blue = np.moveaxis(colour.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue
