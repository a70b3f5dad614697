"""Where a file has no data: collars of mosaics, clouds that were cut out, transparent pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Num
from PIL import ImageOps

from ar_seg_jax.data import images, tiff
from ar_seg_jax.data.limits import DataError


def covered(path: Path, image: Num[np.ndarray, 'height width channels']) -> Bool[np.ndarray, 'height width'] | None:
    """Whether the pixels of an image, as `Form.read` has it, show anything; None if all of them do.

    They do not where they are fully transparent, where the mask in a TIFF file says so, where all bands have the value that GDAL
    calls nodata, or where one of them is no number. DataError for a damaged file.
    """
    if tiff.is_tiff(path):
        known = with_values(image, tiff.nodata(path))
        if tiff.has_alpha(path) and image.shape[2] == 3:
            known.append(tiff.read(path)[..., -1] > 0)
        if (mask := tiff.mask(path)) is not None:
            known.append(_unturned(path, mask))
    else:
        known = _opaque(path)
    if any(one.shape != image.shape[:2] for one in known):
        raise DataError(f'{path}: an alpha band or a mask of another size than the image; rewrite the file')
    every = np.logical_and.reduce(known) if known else np.array(True)
    return None if every.all() else every


def _unturned(path: Path, mask: Bool[np.ndarray, 'height width']) -> Bool[np.ndarray, 'height width']:
    if (turned := tiff.header(path).orientation) != 1:
        raise DataError(f'{path}: a mask and orientation {turned}, expected 1 of a file with a mask; turn it first')
    return mask


def with_values(
    image: Num[np.ndarray, 'height width channels'], nodata: float | Sequence[float] | None
) -> list[Bool[np.ndarray, 'height width']]:
    """Whether pixels are numbers, and whether they are not `nodata`, of the image or of each band; empty if all must be."""
    known = [~np.isnan(image).any(axis=-1)] if image.dtype.kind == 'f' else []
    if nodata is None:
        return known
    # A number of a file of 32-bit floats is one of them, which as a double is another one.
    value = np.asarray(nodata, image.dtype if image.dtype.kind == 'f' else None)
    return [*known, (image != value).any(axis=-1)]


def _opaque(path: Path) -> list[Bool[np.ndarray, 'height width']]:
    with images.open_image(path, decode=False) as image:
        if not image.has_transparency_data:
            return []
    with images.open_image(path) as image:
        return [np.array(ImageOps.exif_transpose(image).convert('RGBA').getchannel('A')) > 0]
