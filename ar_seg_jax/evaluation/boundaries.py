"""How well the boundaries of classes agree: the boundary F-score of a class.

As in Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013: precision is the
share of the predicted boundary pixels of a class that are no further than a tolerance from a true one, recall that of the true
ones near a predicted one, and F their harmonic mean. The tolerance is their 0.75 % of the diagonal of the image. What they leave
open or we do in another way:

- A boundary pixel of a class is one of its pixels beside one (up, down, left, right) that is labelled and of another class: the
  border of the image, and that of what is not labelled, bound nothing. Of predictions only labelled pixels count.
- The tolerance is at least 1 pixel, since labels of small images are no more exact.
- They take the mean over classes for each image, and then over images. We add up the pixels of all images first, as IoU does, so
  that images in which a class is rare do not count as much as those that are full of it.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ar_seg_jax.interfaces import VOID

SHARE = 0.0075  # of the diagonal
LEAST = 1.0  # pixels

# Pixels of the boundaries of each class: true ones, those of them near a predicted one, predicted ones, those near a true one.
Counts = Int[np.ndarray, 'classes 4']


def tolerance(height: int, width: int) -> float:
    """In pixels, between the centres of two of them."""
    return max(LEAST, SHARE * math.hypot(height, width))


def counts(
    predicted: UInt8[np.ndarray, 'height width'], label: UInt8[np.ndarray, 'height width'], num_classes: int, near: float
) -> Int[np.ndarray, '{num_classes} 4']:
    """Of an image. `predicted` may have VOID, which is a class of its own; `near` is the tolerance, in pixels."""
    labelled = label != VOID
    found = np.zeros((num_classes, 4), np.int64)
    for index in np.union1d(np.unique(label), np.unique(predicted)):
        if index < num_classes:
            true, guessed = (_boundary((classes == index) & labelled, labelled) for classes in (label, predicted))
            found[index] = true.sum(), _near(true, guessed, near), guessed.sum(), _near(guessed, true, near)
    return found


def f_scores(counts: Int[np.ndarray, 'classes 4']) -> Float[np.ndarray, 'classes']:
    """F of each class, 0 to 1; NaN for one without boundary pixels, neither true nor predicted ones, and 0 with just one kind."""
    true, hit, guessed, right = np.moveaxis(counts.astype(float), -1, 0)
    with np.errstate(invalid='ignore', divide='ignore'):
        recall, precision = hit / true, right / guessed
        f = 2 * precision * recall / (precision + recall)
    return np.where(true + guessed > 0, np.nan_to_num(f), np.nan)


def _boundary(inside: Bool[np.ndarray, 'height width'], labelled: Bool[np.ndarray, 'height width']):
    from scipy import ndimage  # a third of a second

    return inside & ndimage.binary_dilation(labelled & ~inside)


def _near(pixels: Bool[np.ndarray, 'height width'], others: Bool[np.ndarray, 'height width'], distance: float) -> int:
    """How many of the pixels are no further than a distance from one of the others."""
    from scipy import spatial

    if not (pixels.any() and others.any()):
        return 0
    # A tree of the few boundary pixels is faster than a map of distances, in which all pixels would get one.
    below = np.nextafter(distance, np.inf)
    found, _ = spatial.cKDTree(np.argwhere(others)).query(np.argwhere(pixels), distance_upper_bound=below)
    return int(np.sum(np.isfinite(found)))
