"""What files of unknown origin may be: limits on memory and time, checked before anything is decoded, and one kind of refusal."""

import contextlib
import math
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import tifffile
from PIL import Image, UnidentifiedImageError

from ar_seg_jax.errors import UserError

# Whatever a file is called. Pillow knows dozens more, each a parser to trust, and for EPS it starts Ghostscript.
FORMATS = ('JPEG', 'PNG', 'TIFF', 'BMP', 'WEBP')
MAX_SIDE = 65_535  # pixels, the most that JPEG has; the work on a needle grows with its length, not with its pixels
MAX_BYTES = 2**31  # of a file; parsers read parts of it, or all, at once
_PIXELS_OF_A_BYTE = 512  # of a JPEG at most: each 8 x 8 of them take a bit at least, since Huffman codes do
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


def check_file(path: Path, most: int = MAX_BYTES):
    """DataError unless this is a regular file, of at most so many bytes: a pipe would be waited for, a device never end."""
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
    if status.st_size > most:
        raise DataError(f'{path}: {status.st_size} bytes exceed the limit of {most}, more than such a file can need')


def check_size(name: Path | str, height: int, width: int):
    """DataError for images too large to be worked on; `name` is what the message calls it."""
    if height * width > Image.MAX_IMAGE_PIXELS or max(height, width) > MAX_SIDE:
        raise DataError(
            f'{name}: {width} x {height} pixels exceed the limit of {Image.MAX_IMAGE_PIXELS}, or {MAX_SIDE} a side, which '
            'guards against files made to exhaust memory; cut the image into smaller tiles'
        )


@contextlib.contextmanager
def refusing(name: Path | str, problem: str, advice: str) -> Iterator[None]:
    """Turns what a parser raises into a DataError."""
    try:
        yield
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f'{name}: {error} Cut the image into smaller tiles') from error
    except UnidentifiedImageError as error:
        raise DataError(f'{name}: not an image that Pillow can read; the formats are {", ".join(FORMATS)}') from error
    except _DAMAGED as error:
        raise DataError(f'{name}: {problem} ({error}); {advice}') from error


def check_jpeg(path: Path, height: int, width: int):
    """DataError for a JPEG file with more scans than any camera or program makes, or too short for so many pixels."""
    content, place, count = path.read_bytes(), 2, 0
    if len(content) < height * width / _PIXELS_OF_A_BYTE:
        raise DataError(f'{path}: damaged image, whose {len(content)} bytes cannot be {width} x {height} pixels; fetch it again')
    while (marker := _MARKER.search(content, place)) and marker[1][0] != _END:
        count += marker[1][0] == _START_OF_SCAN
        place = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], 'big')
    if count > _MAX_SCANS:
        raise DataError(f'{path}: {count} scans exceed the limit of {_MAX_SCANS}; save the image anew')


def check_segments(path: Path, page: tifffile.TiffPage):
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
