"""Reading image and label files of unknown origin: one rule for every kind, or a refusal that names the file.

Images here have three channels of 8 bits; `bands` has those of more. Greyscale (1 or 8 bits) and palette images become RGB; an
alpha channel is dropped; CMYK and other three-channel spaces are converted by Pillow's formulas, without colour profiles; the
EXIF orientation is applied. 16-bit, 32-bit and floating-point images are refused, because there is no one right way to 8 bits.

Files are not trusted, see `limits`.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8, UInt16
from PIL import Image, ImageOps

from ar_seg_jax.data import limits, tiff
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID

SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.bmp', '.webp')
Box = tuple[float, float, float, float]  # left, top, right and bottom, in pixels
_CONVERTIBLE = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr', 'LAB', 'HSV')


def check_rescaled(path: Path, image: np.ndarray, factor: float, shorter_side: int = 0):
    """DataError if the image is too large to be worked on at the scale that `rescale` would bring it to."""
    height, width = rescaled_size(*image.shape[:2], factor, shorter_side)
    scale = f'with {shorter_side} pixels on its shorter side' if shorter_side else f'at {factor} times its size'
    limits.check_size(f'{path} {scale}', height, width)


@contextlib.contextmanager
def open_image(path: Path, decode: bool = True) -> Iterator[Image.Image]:
    """Opens a file, and decodes its pixels. DataError if it is not a whole image of sane size.

    What Pillow raises in the `with` is one too, since some files show their damage only when they are converted. So no more
    than that should happen there.
    """
    limits.check_file(path)
    with limits.refusing(path, 'damaged or truncated image', 'remove it or fetch it again'), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # odd metadata, where the pixels are what counts; and sizes, which are checked here
        with Image.open(path, formats=limits.FORMATS) as image:
            limits.check_size(path, image.height, image.width)
            if image.format == 'TIFF':
                tiff.check(path)
            elif image.format != 'MPO' and getattr(image, 'n_frames', 1) > 1:  # cameras' MPO has a preview beside the image
                raise DataError(f'{path}: {image.n_frames} frames of an animation; save each that counts as an image of its own')
            if decode:
                if image.format in ('JPEG', 'MPO'):
                    limits.check_jpeg(path, image.height, image.width)
                image.load()
            yield image


def read_image(path: Path) -> UInt8[np.ndarray, 'height width 3']:
    """An image as RGB; see the rules of this module."""
    with open_image(path) as image:
        image.getexif()  # is kept, and the rest of the metadata can then do no harm: turning the image would write it anew
        image.info.clear()
        return rgb(image, str(path))


def rgb(image: Image.Image, name: str) -> UInt8[np.ndarray, 'height width 3']:
    """The pixels of an open image as RGB; DataError, which calls it `name`, where this module has no rule for its mode."""
    if image.mode not in _CONVERTIBLE:
        raise DataError(
            f'{name}: pixels of mode {image.mode!r} (more than 8 bits a channel) have no fixed conversion to 8 bits; '
            'rescale them to 8 bits first, with one range for the whole data set'
        )
    # Dropping the alpha band, rather than compositing, keeps the colours stored below it.
    return np.array(ImageOps.exif_transpose(image).convert('RGB'))


def read_size(path: Path) -> tuple[int, int]:
    """Height and width of an image, from its header."""
    if tiff.is_tiff(path):
        with tiff.open_page(path) as page:
            return page.imagelength, page.imagewidth
    with open_image(path, decode=False) as image:
        return image.height, image.width


def decode_png(encoded: bytes, name: str, modes: Sequence[str]) -> UInt8[np.ndarray, '...'] | UInt16[np.ndarray, '...']:
    """The pixels of an encoded PNG image as stored. DataError, which calls it `name`, unless its mode is one of `modes`."""
    with (
        limits.refusing(name, 'damaged image', 'prepare the data again'),
        Image.open(io.BytesIO(encoded), formats=['PNG']) as image,
    ):
        limits.check_size(name, image.height, image.width)
        if image.mode not in modes:
            raise DataError(f'{name}: expected an image of mode {" or ".join(modes)}, found {image.mode}')
        return np.array(image)


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


def check_same_size(path: Path, label: np.ndarray, image: np.ndarray, other: str = 'its image'):
    """DataError unless a label map has the size of its image, or of the `other` that it belongs to."""
    if label.shape[:2] != image.shape[:2]:
        raise DataError(
            f'{path}: the label map is {label.shape[1]} x {label.shape[0]} pixels but {other} '
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


def rescale(
    image: UInt8[np.ndarray, '...'], factor: float, label: bool = False, shorter_side: int = 0
) -> UInt8[np.ndarray, '...']:
    """Image (bilinear, with antialiasing) or label map (nearest) at `factor` times its size, at least one pixel.

    shorter_side: pixels that the shorter side gets instead, if not 0.
    """
    return resize(image, *rescaled_size(*image.shape[:2], factor, shorter_side), label)


def square(image: UInt8[np.ndarray, '...'], side: int, label: bool = False) -> UInt8[np.ndarray, '...']:
    """Image or label map with `side` pixels on its shorter side, and of the longer one as many around the centre.

    Pixel for pixel what PiCIE's loaders make of images with Pillow: where an odd number is left out, the number before the
    square is the even one of the two halves.
    """
    return middle(rescale(image, 1.0, label, side), side)


def middle(image: UInt8[np.ndarray, '...'], side: int) -> UInt8[np.ndarray, '...']:
    """The square of so many pixels around the centre, as `square` has it."""
    row, column = (round((length - side) / 2) for length in image.shape[:2])
    return image[row : row + side, column : column + side]


def resize(
    image: UInt8[np.ndarray, '...'], height: int, width: int, label: bool = False, box: Box | None = None
) -> UInt8[np.ndarray, '...']:
    """The same at a given size; or a part of it, with antialiasing by what is beside it."""
    if image.shape[:2] == (height, width) and box in (None, (0, 0, width, height)):
        return image
    size = width, height
    method = Image.Resampling.NEAREST if label else Image.Resampling.BILINEAR
    if image.ndim == 3 and image.shape[2] != 3:  # of four bands Pillow would premultiply the last as alpha
        return np.stack([np.array(Image.fromarray(band).resize(size, method, box)) for band in np.moveaxis(image, 2, 0)], axis=2)
    return np.array(Image.fromarray(image).resize(size, method, box))


def places(before: int, after: int) -> Int32[np.ndarray, '{after}']:
    """The pixel of a label map, `before` pixels long, that each pixel becomes when `resize` brings it to the length `after`."""
    line = Image.fromarray(np.arange(before, dtype=np.int32)[None])
    return np.array(line.resize((after, 1), Image.Resampling.NEAREST))[0]


def nearest(image: UInt8[np.ndarray, '...'], height: int, width: int) -> UInt8[np.ndarray, '...']:
    """At a given size, of which pixel i is pixel floor(i * before / after), as PyTorch's `interpolate` has it by default.

    Pillow, and so `resize`, takes floor((i + 1/2) * before / after).
    """
    rows, columns = (np.arange(size) * before // size for size, before in zip((height, width), image.shape[:2], strict=True))
    return image[rows][:, columns]


def resample(image: UInt8[np.ndarray, '...'], factor: float, label: bool = False) -> UInt8[np.ndarray, '...']:
    """Image (bilinear, without antialiasing) or label map (nearest) at `factor` times its size, as OpenCV's `resize` samples.

    Pixel i of the result is centred at (i + 1/2) / factor - 1/2 for images, and is pixel floor(i / factor) of label maps.
    OpenCV's fixed-point weights can differ by one level.
    """
    height, width = rescaled_size(*image.shape[:2], factor)
    if label:
        rows, columns = (np.minimum(np.floor(np.arange(size) / factor), last - 1).astype(int)
                         for size, last in zip((height, width), image.shape, strict=False))  # fmt: skip
        return image[rows][:, columns]
    blended = image.astype(np.float64)
    for axis, size in enumerate((height, width)):
        place = np.clip((np.arange(size) + 0.5) / factor - 0.5, 0, image.shape[axis] - 1)
        before = np.floor(place).astype(int)
        after = np.minimum(before + 1, image.shape[axis] - 1)
        share = (place - before).reshape([-1, *[1] * (blended.ndim - 1 - axis)])
        blended = np.take(blended, before, axis) * (1 - share) + np.take(blended, after, axis) * share
    return np.round(blended).astype(np.uint8)


def rescaled_size(height: int, width: int, factor: float, shorter_side: int = 0) -> tuple[int, int]:
    """Height and width at `factor` times the size or, if not 0, with a `shorter_side`; the longer is then rounded down."""
    if shorter_side:
        return shorter_side * height // min(height, width), shorter_side * width // min(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def encode_png(array: UInt8[np.ndarray, '...'] | UInt16[np.ndarray, 'height width']) -> bytes:
    """PNG bytes. Those of images are not compressed: the files of records compress all they hold, and decode it faster.

    Bands that PNG has no room for, more than four, lie side by side.
    """
    stream = io.BytesIO()
    level = int(array.ndim == 2)
    if array.ndim == 3 and array.shape[2] > 4:
        array = np.concatenate(np.moveaxis(array, 2, 0), axis=1)
    Image.fromarray(array).save(stream, 'png', compress_level=level)
    return stream.getvalue()


def _pack(colour: np.ndarray) -> np.ndarray:
    """RGB as one number."""
    red, green, blue = np.moveaxis(colour.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue
