"""The best, median and worst images of a split: image | ground truth | predictions, as Figures 4 and 5 of the supplement."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image

from ar_seg_jax.data.classes import Class
from ar_seg_jax.drawing import label_maps
from ar_seg_jax.interfaces import VOID

_FONT_SIZE = 16  # pixels
_NEITHER = Class('no label or class', (0, 0, 0))
_AnySize = UInt8[np.ndarray, '_ _ 3']


@dataclasses.dataclass(frozen=True)
class Compared:
    """An image of a group ('best'), its score (0..1), such as its pixel accuracy, and label maps: the ground truth first, then
    predictions."""

    group: str
    score: float
    image: UInt8[np.ndarray, 'height width channels']
    labels: Sequence[Integer[np.ndarray, 'height width']]


def pixel_accuracy(
    predicted: Integer[np.ndarray, 'images height width'], label: Integer[np.ndarray, 'images height width']
) -> Float[np.ndarray, 'images']:
    """The share of the labelled pixels of each image whose class is right; NaN for an image without any."""
    labelled = label != VOID
    hits = np.sum((predicted == label) & labelled, axis=(1, 2))
    with np.errstate(invalid='ignore'):
        return hits / np.sum(labelled, axis=(1, 2))


def ranked(accuracies: Float[np.ndarray, 'images'], per_group: int) -> dict[str, list[int]]:
    """Indices of the 'best', 'median' and 'worst' images, in each group from the best down.

    No image is in two groups: of fewer than three times `per_group` images each group has a third, rounded down but at
    least one image while they last, first the best, then the worst. Images with NaN are left out; equal ones keep their order.
    """
    order = np.argsort(-accuracies, kind='stable')
    order = order[~np.isnan(accuracies[order])].tolist()
    count = min(per_group, max(1, len(order) // 3))
    best, others = order[:count], order[count:]
    end = len(others) - count
    between, worst = others[:end], others[end:]
    start = (len(between) - count) // 2
    return {'best': best, 'median': between[start : start + count], 'worst': worst}


def draw(
    rows: Sequence[Compared], columns: Sequence[str], classes: Sequence[Class], caption: str, size: int = 200
) -> Image.Image:
    """A panel of rows; `columns` are the titles of the label maps, such as 'ground truth', 'AC', 'linear', 'non-linear'.

    Pictures of all sizes are scaled until their longer side has `size` pixels. Pixels without a label, and those of
    clusters without a class, are black.
    """
    scaled = [_scaled(row, classes, size) for row in rows]
    height, width = (max(row[0].shape[axis] for row in scaled) for axis in (0, 1))
    return label_maps.panel(
        [[label_maps.centred(picture, height, width) for picture in row] for row in scaled],
        ['image', *columns],
        [*classes, _NEITHER],
        caption,
        [f'{row.group}\n{row.score:.1%}' for row in rows],
        _FONT_SIZE,
    )


def strips(rows: Mapping[str, Sequence[Compared]], classes: Sequence[Class], caption: str, size: int = 110) -> Image.Image:
    """A row of pictures for each title, with as many images as all of them have, each beside its label maps.

    Sizes and colours are those of `draw`. Groups are named above the first row, and scores are beside each.
    """
    scaled = {title: [_scaled(one, classes, size) for one in row] for title, row in rows.items()}
    pictures = [picture for row in scaled.values() for found in row for picture in found]
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    first = next(iter(rows.values()))
    return label_maps.panel(
        [[label_maps.centred(picture, height, width) for found in row for picture in found] for row in scaled.values()],
        [title for one in first for title in (one.group, *[''] * len(one.labels))],
        [*classes, _NEITHER],
        caption,
        ['\n'.join([title, *(f'{one.score:.1%}' for one in row)]) for title, row in rows.items()],
        _FONT_SIZE,
    )


def _scaled(row: Compared, classes: Sequence[Class], size: int) -> list[label_maps.RGB]:
    painted = [label_maps.paint(label, classes) for label in row.labels]
    return [
        _resized(row.image[..., :3], size, Image.Resampling.LANCZOS),
        *(_resized(picture, size, Image.Resampling.NEAREST) for picture in painted),
    ]


def _resized(picture: _AnySize, size: int, resampling: Image.Resampling) -> _AnySize:
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    return np.array(Image.fromarray(picture.copy()).resize(shape, resampling))
