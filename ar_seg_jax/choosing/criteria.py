"""What can be said of clusters without labels, so that more is taken to be better.

All measures are 0 for a map of one cluster, since none of them should praise it. None is known to rank label maps by their worth
on all kinds of images: docs/label_maps.md, "Choosing without labels", has what was measured.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from sklearn import metrics

from ar_seg_jax.evaluation.shapes import REACH

DISTANCE = 8  # pixels

Masks = Sequence[Bool[np.ndarray, '_ _']]
Maps = Sequence[UInt8[np.ndarray, '_ _']]  # of images of any sizes


@dataclasses.dataclass(frozen=True)
class Look:
    """What a network makes of some images.

    counted: which of their pixels have data; the others are in no criterion. clusters: of their pixels. mirrored: those of the
    images mirrored left to right, mirrored back. low_contrast: those of the images with less contrast. features: of some places
    in all images, one after another. places: the clusters there.
    """

    counted: Masks
    clusters: Maps
    mirrored: Maps
    low_contrast: Maps
    features: Float[np.ndarray, 'places depth']
    places: UInt8[np.ndarray, 'places']


@dataclasses.dataclass(frozen=True)
class Criteria:
    """Of a run, on the same images as of all runs that it is compared with; 1 is the most that each can be.

    neighbours: mutual information of the clusters of pixels that are 8 pixels apart, as a share of their entropy.
    mirrored, low_contrast: agreement of the clusters of an image and of its mirror image, or of it with less contrast, beyond
        that by chance (Cohen's kappa).
    compact: share of pixels with no other cluster within 2 pixels along rows and columns.
    silhouette: mean silhouette (Rousseeuw 1987) of features, by cluster; down to -1.
    seeds: mean agreement with the runs that differ in the seed only (adjusted Rand index), whatever their clusters are called;
        None without such runs.
    """

    neighbours: float
    mirrored: float
    low_contrast: float
    compact: float
    silhouette: float
    seeds: float | None = None


NAMES = tuple(field.name for field in dataclasses.fields(Criteria))
TITLES = {
    'neighbours': f'what pixels {DISTANCE} apart tell of each other',
    'mirrored': 'same clusters in mirror images',
    'low_contrast': 'same clusters with less contrast',
    'compact': 'pixels away from other clusters',
    'silhouette': 'silhouette of features',
    'seeds': 'agreement of seeds',
}


def of_look(look: Look) -> Criteria:
    """All of them but `seeds`."""
    several = 1 < len(np.unique(look.places)) < len(look.places)
    return Criteria(
        neighbours=_neighbours(look),
        mirrored=_kappa(_joined(look.clusters, look), _joined(look.mirrored, look)),
        low_contrast=_kappa(_joined(look.clusters, look), _joined(look.low_contrast, look)),
        compact=_compact(look),
        silhouette=float(metrics.silhouette_score(look.features, look.places)) if several else 0.0,
    )


def agreement(one: Look, other: Look) -> float:
    """The adjusted Rand index of two runs' clusters."""
    first, second = _joined(one.clusters, one), _joined(other.clusters, other)
    return 0.0 if _is_single(first) or _is_single(second) else float(metrics.adjusted_rand_score(first, second))


def _neighbours(look: Look) -> float:
    maps = zip(look.clusters, look.counted, strict=True)
    found = [pairs(*one, axis, DISTANCE) for one in maps for axis in (0, 1)]
    first, second = (np.concatenate([pair[side] for pair in found]) for side in (0, 1))
    entropy = metrics.mutual_info_score(first, first) if first.size else 0.0
    return float(metrics.mutual_info_score(first, second) / entropy) if entropy else 0.0


def pairs(clusters: np.ndarray, counted: np.ndarray, axis: int, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of all pairs of counted pixels so far apart along an axis."""
    clusters, counted = np.moveaxis(clusters, axis, 0), np.moveaxis(counted, axis, 0)
    both = counted[:-distance] & counted[distance:]
    return clusters[:-distance][both], clusters[distance:][both]


def _kappa(one: UInt8[np.ndarray, 'pixels'], other: UInt8[np.ndarray, 'pixels']) -> float:
    return 0.0 if _is_single(one) or _is_single(other) else float(metrics.cohen_kappa_score(one, other))


def _compact(look: Look) -> float:
    if _is_single(_joined(look.clusters, look)):
        return 0.0
    alone = [_alone(*maps)[maps[1]] for maps in zip(look.clusters, look.counted, strict=True)]
    return float(np.concatenate(alone).mean())


def _alone(clusters: np.ndarray, counted: np.ndarray) -> Bool[np.ndarray, 'height width']:
    """Where no counted pixel of another cluster is near."""
    alone = np.ones(clusters.shape, bool)
    for step in range(1, REACH + 1):
        for axis in (0, 1):
            of_axis, seen, found = (np.moveaxis(array, axis, 0) for array in (clusters, counted, alone))
            differs = (of_axis[step:] != of_axis[:-step]) & seen[step:] & seen[:-step]
            found[step:] &= ~differs
            found[:-step] &= ~differs
    return alone


def _is_single(clusters: UInt8[np.ndarray, 'pixels']) -> bool:
    return len(np.unique(clusters)) < 2


def _joined(maps: Maps, look: Look) -> UInt8[np.ndarray, 'pixels']:
    return np.concatenate([one[counted] for one, counted in zip(maps, look.counted, strict=True)])
