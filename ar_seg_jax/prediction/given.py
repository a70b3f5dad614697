"""What callers of a network may give as an image, and results in the same form.

That is an array, what numpy makes one of, an image of Pillow, or a labelled array of xarray, which rioxarray reads rasters into.
xarray is never imported: whoever gives such an array has it.
"""

from typing import Any

import numpy as np
from PIL import Image

from ar_seg_jax.data import images
from ar_seg_jax.errors import UserError

_BAND, _PLACE = 'band', ('y', 'x')


def pixels(image: Any, rgb: bool) -> np.ndarray:
    """The numbers of an image, (height, width, channels), or of a batch of such.

    rgb: images of Pillow become RGB and upright, as those in files do, see `data.images`; else they are taken as they are. The
    axes of a labelled array are found by their names, and UserError unless these are y, x and band in any order, and one more at
    most, of a batch.
    """
    if isinstance(image, Image.Image) and rgb:
        return images.rgb(image, 'an image of Pillow')
    return np.asarray(image.transpose(*_axes(image)) if _is_labelled(image) else image)


def like(image: Any, found: np.ndarray, name: str, *last: str) -> Any:
    """What was found for the pixels of an image, as a labelled array of this name where the image is one.

    It has the coordinates of the image that are not those of bands, the reference system of rioxarray (`spatial_ref`) among
    them. Attributes are left behind, since they are about the numbers of the image. last: names of the axes after y and x.
    """
    if not _is_labelled(image):
        return found
    axes = (*_axes(image)[:-1], *last)
    coordinates = {key: values for key, values in image.coords.items() if set(values.dims) <= set(axes)}
    return type(image)(found, coordinates, axes, name=name)


def _is_labelled(image: Any) -> bool:
    return hasattr(image, 'dims') and hasattr(image, 'coords')


def _axes(image: Any) -> tuple[str, ...]:
    """The names of the axes of a labelled array: of a batch, of places, of bands."""
    batch = tuple(axis for axis in image.dims if axis not in (*_PLACE, _BAND))
    axes = (*batch, *_PLACE, _BAND)
    if len(batch) > 1 or len(axes) != len(image.dims):
        raise UserError(
            f'expected a labelled array with the dimensions y, x and band in any order, and one more at most, of a batch; found '
            f'{", ".join(map(str, image.dims)) or "none"}. Rename them with .rename(...), or choose with .isel(...)'
        )
    return axes
