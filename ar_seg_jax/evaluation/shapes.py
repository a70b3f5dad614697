"""The shapes of clusters in label maps: a cluster of edges, or of the image border, differs from one of regions.

The measures are our own. All pixels with data count, those without a label too: they say something about the map and nothing
about classes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int

REACH = 2  # pixels, across which another cluster makes a pixel thin
BORDER = 8  # pixels, the width of the image border
_SMALLEST_SIDE = 3 * BORDER  # of an image; where most of it is border, no cluster can be there more than elsewhere

# What is suspicious: a cluster that is at least twice as thin as all others together (in a noisy map all of them are thin), and
# - either almost nothing but outline: a line of less than 5 pixels, while a compact object of 8 x 8 pixels has 0.75;
# - or less so, but also at the image border more than elsewhere, since padding makes an edge there. The cluster of edges of
#   docs/results.md, "Aerial photographs", whose lines are of some ten pixels, has a thinness of 0.4; its border share is 1.1
#   after 80 steps, when nothing tells it from a class yet, 1.4 after 120 and 1.3 after 160. Labelled classes of photographs
#   reach a thinness of 0.46 (outlines, trees); those above 0.25 have border shares of 0.9 to 1.1.
# Beside these a cluster of the image border: in images of 200 x 200 pixels a frame of 8 pixels has a border share of 6.5, a strip
# of 20 along one side 2.9. Rare classes can be like all of that (poles have a thinness of 0.9), and rare clusters do little harm.
_SMALLEST_SHARE = 0.02
_THIN = 0.8
_THIN_AT_BORDER, _OFTEN_AT_BORDER = 0.3, 1.2
_AT_BORDER = 3.0
_ADVICE = (
    'If that stays so, try fewer clusters (--config.method.num_clusters), for AC and IIC an entropy weight below 1 '
    '(--config.method.entropy_weight), or a mixture (configs/mixture_folder.py); see docs/results.md, "Aerial photographs".'
)

Counts = Int[np.ndarray, 'clusters 2 2']


class Shape(NamedTuple):
    """Of a cluster, over the images of a split.

    share: of all pixels, 0 to 1.
    thinness: share of the cluster's pixels that are within 2 pixels, diagonally too, of another cluster, 0 to 1: those that an
        erosion with a square of 5 x 5 pixels removes. What is beyond the image border is no other cluster. A stripe, and a
        square, of w >= 4 pixels have 4 / w and 1 - (1 - 4 / w)^2. None for an empty cluster.
    border_share: its share of the pixels within 8 pixels of the image border over its share of all pixels; 1 is as everywhere, at
        most the inverse of the border's share, 6.5 for images of 200 x 200. None for an empty cluster, and for images with a side
        below 24 pixels.
    """

    share: float
    thinness: float | None
    border_share: float | None


def counts(
    clusters: Int[Array, 'batch height width'], counted: Bool[Array, 'batch height width'], num_clusters: int
) -> Int[Array, '{num_clusters} 2 2']:
    """Pixels of each cluster by whether they are at the image border (second axis) and thin (third); see `Shape`.

    Only pixels that are `counted` are pixels of a cluster. Nothing is at the border of an image that is too small to have one.
    Counts are exact up to 2^31 pixels a batch.
    """
    clusters = clusters.astype(jnp.int32)
    cells = 4 * num_clusters
    cell = 4 * clusters + 2 * _at_border(*clusters.shape[1:])[None] + _thin(clusters, counted)
    cell = jnp.where(counted, cell, cells)
    return jnp.bincount(cell.reshape(-1), length=cells + 1)[:cells].reshape(num_clusters, 2, 2)


def of_clusters(counts: Counts) -> list[Shape]:
    """The shape of each cluster."""
    pixels, at_border, thin = counts.sum((1, 2)), counts[:, 1].sum(1), counts[:, :, 1].sum(1)
    total, border = pixels.sum(), at_border.sum()
    return [
        Shape(
            share=float(own / total) if total else 0.0,
            thinness=float(own_thin / own) if own else None,
            border_share=float(own_border * total / (border * own)) if own and border else None,
        )
        for own, own_border, own_thin in zip(pixels, at_border, thin, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Of all clusters, on a split."""

    split: str
    clusters: Sequence[Shape]

    def content(self) -> dict[str, Any]:
        """As it is saved in JSON."""
        return {'split': self.split, 'clusters': [shape._asdict() for shape in self.clusters]}

    def line(self) -> str:
        """For people; without empty clusters."""
        measures = ', '.join(name.replace('_', ' ') for name in Shape._fields)
        words = (f'{number} {_in_words(shape)}' for number, shape in enumerate(self.clusters) if shape.share)
        return f'Shapes of clusters on {self.split!r} ({measures}): {"; ".join(words)}'

    def warnings(self) -> list[str]:
        """A sentence on each cluster that looks like one of edges or of the image border, and one on what to do."""
        found = [
            f'Cluster {number} looks like one of {what}.'
            for number, shape in enumerate(self.clusters)
            if (what := _suspicion(shape, [*self.clusters[:number], *self.clusters[number + 1 :]]))
        ]
        return [' '.join([*found, _ADVICE])] if found else []


def _suspicion(shape: Shape, others: Sequence[Shape]) -> str:
    """What a cluster looks like, with the reason, or ''."""
    if shape.share < _SMALLEST_SHARE:
        return ''
    border_share = shape.border_share or 0
    near = f'{border_share:.1f} times as many of its pixels as of all lie within {BORDER} pixels of the image border'
    if border_share > _AT_BORDER:
        return f'the image border: {near}'
    thinness_of_rest = _thinness(others)
    if shape.thinness < 2 * thinness_of_rest:
        return ''
    thin = f'{shape.thinness:.0%} of its pixels are within {REACH} pixels of another cluster'
    if shape.thinness > _THIN:
        return f'edges: {thin}, and {thinness_of_rest:.0%} of all others'
    if shape.thinness > _THIN_AT_BORDER and border_share > _OFTEN_AT_BORDER:
        return f'edges and the image border: {thin}, and {near}'
    return ''


def is_outline(shape: Shape, others: Sequence[Shape]) -> bool:
    """Whether a cluster is almost nothing but outline, and at least twice as thin as all others together."""
    return bool(shape.share) and shape.thinness > _THIN and shape.thinness >= 2 * _thinness(others)


def _thinness(shapes: Sequence[Shape]) -> float:
    """Of clusters together; 1 of none."""
    share = sum(one.share for one in shapes)
    return sum(one.share * one.thinness for one in shapes if one.share) / share if share else 1.0


def _in_words(shape: Shape) -> str:
    border = 'none' if shape.border_share is None else f'{shape.border_share:.2f}'
    return f'{shape.share:.3f}, {shape.thinness:.2f}, {border}'


def _at_border(height: int, width: int) -> Bool[np.ndarray, '{height} {width}']:
    at_border = np.ones((height, width), bool)
    at_border[BORDER : height - BORDER, BORDER : width - BORDER] = False
    return at_border & (min(height, width) >= _SMALLEST_SIDE)


def _thin(
    clusters: Int[Array, 'batch height width'], counted: Bool[Array, 'batch height width']
) -> Bool[Array, 'batch height width']:
    """Where the smallest and the largest cluster among counted pixels of the square around a pixel differ."""
    least, most = jnp.iinfo(jnp.int32).min, jnp.iinfo(jnp.int32).max
    largest, smallest = jnp.where(counted, clusters, least), jnp.where(counted, clusters, most)
    for window in ((1, 2 * REACH + 1, 1), (1, 1, 2 * REACH + 1)):  # the square in two passes, for any number of clusters
        largest = lax.reduce_window(largest, least, lax.max, window, (1, 1, 1), 'SAME')
        smallest = lax.reduce_window(smallest, most, lax.min, window, (1, 1, 1), 'SAME')
    return largest != smallest
