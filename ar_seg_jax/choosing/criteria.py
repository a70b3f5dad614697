"""What can be said of clusters without labels, so that more is taken to be better.

All measures are 0 for a map of one cluster, since none of them should praise it. None is known to rank label maps by their worth
on all kinds of images: docs/label_maps.md, "Choosing without labels", has what was measured.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from sklearn import metrics

DISTANCE = 8  # pixels
_REACH = 2  # pixels, across which another cluster makes a pixel thin, as in `evaluation.shapes`

Maps = Sequence[UInt8[np.ndarray, '_ _']]  # of images of any sizes


@dataclasses.dataclass(frozen=True)
class Look:
    """What a network makes of some images.

    clusters: of their pixels. mirrored: those of the images mirrored left to right, mirrored back. paled: those of the images
    with less contrast. features: of some places in all images, one after another. places: the clusters there.
    """

    clusters: Maps
    mirrored: Maps
    paled: Maps
    features: Float[np.ndarray, 'places depth']
    places: UInt8[np.ndarray, 'places']


@dataclasses.dataclass(frozen=True)
class Criteria:
    """Of a run, on the same images as of all runs that it is compared with; 1 is the most that each can be.

    neighbours: mutual information of the clusters of pixels that are 8 pixels apart, as a share of their entropy.
    mirrored, paled: agreement of the clusters of an image and of its mirror image, or of it with less contrast, beyond that by
        chance (Cohen's kappa).
    compact: share of pixels with no other cluster within 2 pixels along rows and columns.
    silhouette: mean silhouette (Rousseeuw 1987) of features, by cluster; down to -1.
    seeds: mean agreement with the runs that differ in the seed only (adjusted Rand index), whatever their clusters are called;
        None without such runs.
    """

    neighbours: float
    mirrored: float
    paled: float
    compact: float
    silhouette: float
    seeds: float | None = None


NAMES = tuple(field.name for field in dataclasses.fields(Criteria))


def of_look(look: Look) -> Criteria:
    """All of them but `seeds`."""
    several = len(np.unique(look.places)) > 1
    return Criteria(
        neighbours=_neighbours(look.clusters),
        mirrored=_kappa(look.clusters, look.mirrored),
        paled=_kappa(look.clusters, look.paled),
        compact=_compact(look.clusters),
        silhouette=float(metrics.silhouette_score(look.features, look.places)) if several else 0.0,
    )


def agreement(one: Maps, other: Maps) -> float:
    """The adjusted Rand index of two runs' clusters."""
    if _is_single(one) or _is_single(other):
        return 0.0
    return float(metrics.adjusted_rand_score(_joined(one), _joined(other)))


def _neighbours(maps: Maps) -> float:
    pairs = [pair for one in maps for pair in ((one[:, :-DISTANCE], one[:, DISTANCE:]), (one[:-DISTANCE], one[DISTANCE:]))]
    first, second = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    entropy = metrics.mutual_info_score(first, first) if first.size else 0.0
    return float(metrics.mutual_info_score(first, second) / entropy) if entropy else 0.0


def _kappa(one: Maps, other: Maps) -> float:
    if _is_single(one) or _is_single(other):
        return 0.0
    return float(metrics.cohen_kappa_score(_joined(one), _joined(other)))


def _compact(maps: Maps) -> float:
    if _is_single(maps):
        return 0.0
    thin = []
    for one in maps:
        alone = np.ones(one.shape, bool)
        for step in range(1, _REACH + 1):
            for axis in (0, 1):
                ahead, behind = (np.moveaxis(array, axis, 0) for array in (one, alone))
                differs = ahead[step:] != ahead[:-step]
                behind[step:] &= ~differs
                behind[:-step] &= ~differs
        thin.append(alone.ravel())
    return float(np.concatenate(thin).mean())


def _is_single(maps: Maps) -> bool:
    return len(np.unique(_joined(maps))) < 2


def _joined(maps: Maps) -> UInt8[np.ndarray, 'pixels']:
    return np.concatenate([one.ravel() for one in maps])
