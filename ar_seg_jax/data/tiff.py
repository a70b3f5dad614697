"""TIFF files, from a header to all bands as they are stored: pixels of any number and kind, which Pillow drops or refuses."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from jaxtyping import Bool, Shaped

from ar_seg_jax.data import limits
from ar_seg_jax.data.limits import DataError

NODATA = 42113  # GDAL's tag, a number in words
_DERIVED = tifffile.FILETYPE.REDUCEDIMAGE | tifffile.FILETYPE.MASK
MAX_BYTES = 2**31  # of the pixels of an image
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)


class Header(NamedTuple):
    """What a TIFF file says of its first image: sides and orientation, and bytes of all its pixels."""

    height: int
    width: int
    bytes: int
    orientation: int


def is_tiff(path: Path, most: int = limits.MAX_BYTES) -> bool:
    """Whether a file begins as TIFF files do, whatever it is called; DataError if it is no regular file of so many bytes."""
    limits.check_file(path, most)
    with limits.refusing(path, 'cannot read the file', 'fetch it again'), path.open('rb') as file:
        return file.read(4) in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


@contextlib.contextmanager
def open_page(path: Path) -> Iterator[tifffile.TiffPage]:
    """The page of a file. DataError for a damaged file, one of unreasonable size, or one of several images.

    Smaller copies of the same image, which GeoTIFF files have for quick looks, and masks are no images of their own.
    """
    with _refusing(path), tifffile.TiffFile(path) as file:
        page = file.pages[0]
        for number in itertools.count(1):
            try:
                other = file.pages[number]
            except IndexError:
                break
            if not other.subfiletype & _DERIVED:
                raise DataError(f'{path}: several images in one file; write each page, or all bands, into a file of its own')
        limits.check_size(path, page.imagelength, page.imagewidth)
        yield page


def header(path: Path) -> Header:
    """Of a file of any size; DataError for one that is damaged."""
    with _refusing(path), tifffile.TiffFile(path) as file:
        page = file.pages[0]
        return Header(page.imagelength, page.imagewidth, page.nbytes, int(page.tags.valueof('Orientation', default=1)))


def check(path: Path):
    """DataError as in `open_page`, whose pixels somebody else reads."""
    with open_page(path):
        pass


def read(path: Path) -> Shaped[np.ndarray, 'height width bands']:
    """All bands, as they are stored. DataError as in `open_page`, and where tags contradict one another."""
    with open_page(path) as page:
        if not page.imagelength * page.imagewidth:
            raise DataError(f'{path}: expected pixels, found an image of {page.imagewidth} x {page.imagelength}; fetch it again')
        bands = _bands(path, page)
        if page.nbytes > MAX_BYTES:
            raise DataError(f'{path}: pixels of {page.nbytes} bytes, the limit is {MAX_BYTES}; cut the image into smaller tiles')
        limits.check_segments(path, page)
        found = page.asarray()
        size = page.imagelength, page.imagewidth
    by_bands = np.moveaxis(found, 0, -1) if page.axes == 'SYX' else found.reshape(*found.shape[:2], -1)
    if by_bands.shape != (*size, bands):
        raise DataError(f'{path}: damaged image, with pixels of shape {found.shape}; fetch it again')
    return by_bands


def has_alpha(path: Path) -> bool:
    """Whether the last band says how opaque pixels are."""
    with open_page(path) as page:
        return bool(page.extrasamples) and page.extrasamples[-1] in _ALPHA


def nodata(path: Path) -> float | None:
    """The value by which GDAL marks pixels without data, if there is one; not that of a palette, whose pixels become colours."""
    with open_page(path) as page:
        in_colours = page.photometric == tifffile.PHOTOMETRIC.PALETTE
        return None if in_colours or NODATA not in page.tags else float(page.nodata)


def mask(path: Path) -> Bool[np.ndarray, 'height width'] | None:
    """Where the mask that a file holds beside its image has data; None if it holds none. DataError as in `read`."""
    with open_page(path) as page:
        for other in page.parent.pages[1:]:
            if other.subfiletype & tifffile.FILETYPE.MASK and not other.subfiletype & tifffile.FILETYPE.REDUCEDIMAGE:
                limits.check_size(path, other.imagelength, other.imagewidth)
                limits.check_segments(path, other)
                return other.asarray().reshape(other.imagelength, other.imagewidth) > 0
    return None


def _refusing(path: Path) -> contextlib.AbstractContextManager[None]:
    return limits.refusing(path, 'cannot read this TIFF file', 'fetch it again, or rewrite it uncompressed')


def _bands(path: Path, page: tifffile.TiffPage) -> int:
    if page.axes not in ('YX', 'YXS', 'SYX') or page.imagedepth != 1 or page.dtype is None:
        found = f'axes {page.axes} and numbers of {page.bitspersample} bits'
        raise DataError(f'{path}: expected one page of bands, found {found}; rewrite the file')
    return page.samplesperpixel
