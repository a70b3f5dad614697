"""Where images lie on the earth: GeoTIFF's tags, which label maps take over as they are.

They are not interpreted, so every coordinate system and transform that GeoTIFF can say is carried over (OGC 19-008r4, section 7).
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from jaxtyping import UInt8

from ar_seg_jax.data import tiff
from ar_seg_jax.data.classes import Class
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID

# ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GeoDoubleParams, GeoAsciiParams
_PLACE, _SYSTEM = (33550, 33922, 34264), (34735, 34736, 34737)
_MOST = 2**16  # values of a tag, which is what a directory of keys can have at most
_TILE = 256  # pixels a side


class Tag(NamedTuple):
    """A tag as `tifffile.imwrite` takes it."""

    code: int
    dtype: int
    count: int
    value: Any


def read(path: Path) -> tuple[Tag, ...]:
    """The tags that say where an image lies; none for files that are no GeoTIFF.

    DataError for a damaged file, and for one that says where it lies and also that it has to be turned, since nobody knows which
    of the two comes first.
    """
    if not tiff.is_tiff(path):
        return ()
    with tiff.open_page(path) as page:
        kept = [page.tags[code] for code in (*_PLACE, *_SYSTEM) if code in page.tags]
        if not any(tag.code in _PLACE for tag in kept):
            return ()
        turned = page.tags.valueof('Orientation', default=1)
        if turned != 1 or any(tag.count > _MOST for tag in kept):
            problem = f'a georeference and orientation {turned}' if turned != 1 else 'a georeference of too many numbers'
            raise DataError(f'{path}: {problem}; rewrite the file, with gdal_translate for example')
        return tuple(Tag(tag.code, int(tag.dtype), tag.count, tag.value) for tag in kept)


def encode(labels: UInt8[np.ndarray, 'height width'], classes: Sequence[Class], tags: Sequence[Tag]) -> bytes:
    """A label map as a GeoTIFF file with a palette, in compressed tiles; VOID is what GDAL calls nodata."""
    palette = np.zeros((3, 256), np.uint16)
    palette[:, : len(classes)] = 257 * np.array([entry.colour for entry in classes], np.uint16).T  # 255 is 65535 there
    stream = BytesIO()
    tifffile.imwrite(
        stream,
        labels,
        photometric='palette',
        colormap=palette,
        tile=(_TILE, _TILE),
        compression='zlib',
        metadata=None,
        extratags=[(*tag, True) for tag in (*tags, Tag(tiff.NODATA, tifffile.DATATYPE.ASCII, 0, str(VOID)))],
    )
    return stream.getvalue()
