"""Labels of instances: 0 is the background, 1 to n are the objects of an image, VOID is not annotated."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer, UInt8

from ar_seg_jax.data import images
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID

MOST = VOID - 1  # objects in an image


def numbered(name: Path | str, ids: Integer[np.ndarray, 'height width']) -> UInt8[np.ndarray, 'height width']:
    """The objects renumbered from 1 on in the order of their ids; 0 and VOID stay. DataError, about `name`, for too many."""
    found, places = np.unique(ids, return_inverse=True)
    objects = (found != 0) & (found != VOID)
    check_count(name, int(objects.sum()))
    numbers = np.where(objects, np.cumsum(objects), found)
    return numbers[places].astype(np.uint8).reshape(ids.shape)


def check_count(name: Path | str, count: int):
    if count > MOST:
        raise DataError(f'{name}: {count} objects in an image exceed the limit of {MOST}; cut the image into smaller ones')


def merged(paths: Sequence[Path], image: UInt8[np.ndarray, 'height width channels']) -> UInt8[np.ndarray, 'height width']:
    """The label map of an image from one mask for each of its objects, whose pixels are those that are not 0 or black.

    DataError names a file whose object has another size than the image, or has pixels that an earlier one has too.
    """
    check_count(paths[0].parent if paths else 'an image', len(paths))
    label, owners = np.zeros(image.shape[:2], np.uint8), {}
    for number, path in enumerate(paths, start=1):
        mask = _object(path)
        images.check_same_size(path, mask, image)
        if (taken := label[mask]).any():
            other = owners[int(taken[taken > 0][0])]
            raise DataError(
                f'{path}: {np.count_nonzero(taken)} pixels of this object belong to {other.name} or others too; '
                'give each pixel to one object, the one that is seen there'
            )
        label[mask], owners[number] = number, path
    return label


def _object(path: Path) -> Bool[np.ndarray, 'height width']:
    with images.open_image(path) as image:
        in_colours = image.mode not in ('1', 'L', 'P')
    return images.read_image(path).any(axis=-1) if in_colours else images.read_ids(path) > 0
