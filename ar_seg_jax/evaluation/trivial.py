"""What a segmentation into objects must beat: predictors that learned nothing about objects.

Each gives an image its segments, of which 0 is taken for the background where there is one. They run on the host: connected
components have no shape that a compiled program could know.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ar_seg_jax.evaluation import baselines
from ar_seg_jax.interfaces import Batch
from ar_seg_jax.objectives.clustering import Centroids

Image = UInt8[np.ndarray, 'height width channels']
Segments = Int[np.ndarray, 'height width']


class Trivial(NamedTuple):
    """A predictor, and what its segments are."""

    segments: str
    predict: Callable[[Image], Segments]


_BLOCKS = (2, 3)  # rows and columns
_USUAL = 400  # images whose median is the usual one
_SMALLEST = 0.005  # share of an image; no object of the data sets is smaller, and less is noise


def predictors(
    sample: Sequence[Batch], num_clusters: int, seed: int, threshold: float, image_shape: tuple[int, ...]
) -> dict[str, Trivial]:
    """All of them by name, for images of this shape. sample: training batches, from which colours and the usual image are taken;
    where their images have another shape, there is no usual image."""
    centroids = baselines.pixel_centroids(sample, num_clusters, seed)
    found = {
        'one segment': Trivial('one segment', one_segment),
        'blocks': Trivial(f'{_BLOCKS[0]} x {_BLOCKS[1]} blocks', blocks),
        'k-means on pixels': Trivial(
            f'connected parts of {num_clusters} clusters of colours, the largest part the background',
            functools.partial(of_colours, centroids),
        ),
    }
    if sample[0]['image'].shape[1:] == image_shape:
        usual = usual_image(sample)
        words = f'connected parts that differ by more than {threshold:g} levels from the median of training images'
        found['difference from median'] = Trivial(words, functools.partial(of_difference, usual, threshold))
    return found


def one_segment(image: Image) -> Segments:
    """All of it is background."""
    return np.zeros(image.shape[:2], int)


def blocks(image: Image) -> Segments:
    """Six blocks, in two rows, wherever the objects are."""
    rows, columns = (np.arange(length) * parts // length for length, parts in zip(image.shape[:2], _BLOCKS, strict=True))
    return rows[:, None] * _BLOCKS[1] + columns


def of_colours(centroids: Centroids, image: Image) -> Segments:
    """The connected parts of each cluster of colours; the largest of all of them is the background."""
    clusters = np.asarray(_nearest(centroids, image[None]))[0]
    found = np.zeros(clusters.shape, int)
    for cluster in np.unique(clusters):
        parts = components(clusters == cluster)
        found[parts > 0] = parts[parts > 0] + found.max()
    return np.where(found == np.bincount(found[found > 0], minlength=1).argmax(), 0, found)


def of_difference(usual: Float[np.ndarray, 'height width channels'], threshold: float, image: Image) -> Segments:
    """The connected parts in which a channel is further than `threshold` levels, of 255, from the `usual` image."""
    return components(np.any(abs(image - usual) > threshold, axis=-1))


def usual_image(batches: Sequence[Batch]) -> Float[np.ndarray, 'height width channels']:
    """The median of some images, pixel by pixel: what a camera sees that does not move, without the objects."""
    images = np.concatenate([np.asarray(batch['image']) for batch in batches])
    return np.median(images[:_USUAL], axis=0)


def components(mask: Bool[np.ndarray, 'height width']) -> Segments:
    """The connected parts of a mask (4 neighbours) from 1 on; 0 outside of it, and for parts below 0.5 % of the image."""
    from scipy import ndimage  # which no first step should wait for

    found, _ = ndimage.label(mask)
    kept = np.bincount(found.reshape(-1)) >= _SMALLEST * mask.size
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0)[found]


_nearest = jax.jit(baselines.nearest_centroid)
