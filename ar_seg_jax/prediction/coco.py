"""Objects in the format of COCO's instance annotations (cocodataset.org, 'Data format'), which its tools read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

_CATEGORY = {'id': 1, 'name': 'object', 'supercategory': 'object'}


def document(labels: Mapping[str, tuple[tuple[int, int], list[dict[str, Any]]]], description: str) -> dict[str, Any]:
    """A whole file, from the size (height, width) and the `annotations` of each image, by the name of its file.

    Ids of images and of annotations count from 1.
    """
    images, entries = [], []
    for number, (name, ((height, width), found)) in enumerate(labels.items(), 1):
        images.append({'id': number, 'file_name': name, 'width': width, 'height': height})
        entries += [{'id': len(entries) + place, 'image_id': number, **entry} for place, entry in enumerate(found, 1)]
    return {'info': {'description': description}, 'images': images, 'annotations': entries, 'categories': [_CATEGORY]}


def annotations(labels: UInt8[np.ndarray, 'height width']) -> list[dict[str, Any]]:
    """Those of the objects of an image, whose numbers in the label map are 1 and more; without ids.

    Each has its mask, as uncompressed run lengths, its box [left, top, width, height] and its area, in pixels; and, which COCO
    does not know, the `number` that it has in the label map.
    """
    return [_annotation(labels == number, number) for number in np.unique(labels[labels > 0]).tolist()]


def run_lengths(mask: Bool[np.ndarray, 'height width']) -> list[int]:
    """Lengths of runs of pixels that are not in the mask, are, are not, and so on, down one column after the other."""
    pixels = mask.reshape(-1, order='F')
    ends = [*(np.flatnonzero(np.diff(pixels)) + 1).tolist(), pixels.size]
    return np.diff([0, *([0] if pixels[0] else []), *ends]).tolist()


def _annotation(mask: Bool[np.ndarray, 'height width'], number: int) -> dict[str, Any]:
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis))[[0, -1]].tolist() for axis in (1, 0))
    return {
        'category_id': _CATEGORY['id'],
        'segmentation': {'size': list(mask.shape), 'counts': run_lengths(mask)},
        'bbox': [left, top, right - left + 1, bottom - top + 1],
        'area': int(mask.sum()),
        'iscrowd': 0,
        'number': number,
    }
