"""How well the segments of an image agree with its objects: ARI, mIoU and MSC, image by image, from contingency tables.

Label 0 is the background, the others are objects, in any order; pixels labelled VOID are left out. Segments have no names either.
All scores are between 0 and 1, but for ARI, which is below 0 where segments agree less than by chance.
"""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, UInt8

from ar_seg_jax.interfaces import VOID

Table = Int[np.ndarray, 'segments labels']  # pixels of an image, by segment and label; rows and columns may be empty

# Scores by name, as JSON and sweeps call them, and as people do.
WORDS = {
    'mean_iou': 'mIoU',
    'ari_fg': 'ARI-FG',
    'msc_fg': 'MSC-FG',
    'ari': 'ARI',
    'msc': 'MSC',
    'mean_iou_ast': 'mIoU (AST)',
}
# Added to IoU that are not 0: of matchings with the same sum the one with most pairs is taken, and not what rounding makes of it.
_TIE = 1e-9


def contingency(
    segments: Int[Array, 'batch height width'], label: UInt8[Array, 'batch height width'], num_segments: int
) -> Int[Array, 'batch {num_segments} labels']:
    """Pixels of each image by segment and label 0 to 254; VOID is not counted."""
    cells = num_segments * VOID
    cell = jnp.where(label == VOID, cells, segments.astype(jnp.int32) * VOID + label)
    counts = jax.vmap(lambda one: jnp.bincount(one.reshape(-1), length=cells + 1))(cell)
    return counts[:, :cells].reshape(-1, num_segments, VOID)


def squared_error(
    reconstruction: Float[Array, 'batch height width channels'], image: UInt8[Array, 'batch height width channels']
) -> Float[Array, 'batch']:
    """The sum, over the pixels and channels of each image, of squared differences; both are taken in [0, 1]."""
    return jnp.sum((reconstruction - image / jnp.float32(255)) ** 2, axis=(1, 2, 3))


def scores(table: Table) -> dict[str, float]:
    """All scores of an image, by the names of `WORDS`; NaN for all of them where no pixel has a label.

    NaN for ARI-FG and MSC-FG of an image without objects, about which neither says anything; scikit-learn's ARI of nothing is 1,
    and the MSC of GENESIS is 0.
    """
    if not table.any():
        return dict.fromkeys(WORDS, np.nan)
    table = table[:, : np.flatnonzero(table.any(0))[-1] + 1]
    overlaps, there = iou(table), table.any(0)
    best, objects = overlaps.max(0), there[1:]
    mean, mean_ast = mean_iou(table)
    return {
        'mean_iou': mean,
        'ari_fg': adjusted_rand_index(table[:, 1:]) if objects.any() else np.nan,
        'msc_fg': float(best[1:][objects].mean()) if objects.any() else np.nan,
        'ari': adjusted_rand_index(table),
        'msc': float(best[there].mean()),
        'mean_iou_ast': mean_ast,
    }


def of_maps(segments: Integer[np.ndarray, 'height width'], label: UInt8[np.ndarray, 'height width']) -> dict[str, float]:
    """The same of a map of at most 255 segments, the last of which is not empty."""
    return scores(np.asarray(_count(segments.astype(np.int32)[None], label[None]))[0, : segments.max() + 1])


def adjusted_rand_index(table: Table) -> float:
    """How often segments and labels agree on whether two pixels belong together, less what chance would give.

    ARI-FG is that of a table without the column of the background: segments are not restricted, and that of the background is one
    like the others. 1 where both are the same partition. With a single true object it is 1 if the object is one segment and
    exactly 0 if it is not, be it by one pixel.
    """
    # In Python's integers: products of numbers of pairs are beyond 64 bits for images of 65,536 pixels and more.
    squares = (np.sum(np.square(counts, dtype=np.int64)) for counts in (table, table.sum(1), table.sum(0)))
    same_both, same_segment, same_label = map(int, squares)
    pixels = int(table.sum())
    both, segment_only, label_only = same_both - pixels, same_segment - same_both, same_label - same_both
    neither = pixels**2 - same_segment - same_label + same_both
    if not segment_only and not label_only:
        return 1.0
    chance = (both + label_only) * (label_only + neither) + (both + segment_only) * (segment_only + neither)
    return 2 * (both * neither - label_only * segment_only) / chance


def iou(table: Table) -> Float[np.ndarray, 'segments labels']:
    """Intersection over union of every segment and every true mask; 0 where either is empty."""
    unions = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    return table / np.maximum(unions, 1)


def mean_iou(table: Table) -> tuple[float, float]:
    """The sum of IoU over pairs of a segment and a true mask, over the number of pairs: ours, and that of AST's code.

    No mask is in two pairs, and the pairs are those that make the sum largest (Hungarian matching); the background is a mask like
    the others, and any segment may be matched with it. We divide by the number of segments and true masks that are not empty,
    a matched pair that overlaps counting once. AST's code makes max(K + 1, labels) pairs, and divides by those in which either
    mask is not empty: whether a superfluous segment stands opposite a missed object or opposite nothing is then up to the order
    of the slots. Of 90 pixels of background and 10 of an object, where all that is found are 10 pixels of the background, it
    makes 0.400 if they are those of slot 1, and 0.267, which is ours, if they are those of slot 3.
    """
    from scipy.optimize import linear_sum_assignment  # a quarter of a second, which no first step should wait for

    side = max(table.shape)
    table = np.pad(table, [(0, side - length) for length in table.shape])
    overlaps = iou(table)
    segments, labels = linear_sum_assignment(overlaps + _TIE * (overlaps > 0), maximize=True)
    matched = overlaps[segments, labels]
    found, true = table.any(1), table.any(0)
    ours = found.sum() + true.sum() - np.sum(matched > 0)
    return float(matched.sum() / ours), float(matched.sum() / np.sum(found[segments] | true[labels]))


def means(images: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each score over the images where it is not NaN; one that is NaN everywhere is left out."""
    values = {name: np.array([image[name] for image in images]) for name in images[0]}
    return {name: float(np.nanmean(of_name)) for name, of_name in values.items() if not np.isnan(of_name).all()}


_count = jax.jit(functools.partial(contingency, num_segments=VOID))
