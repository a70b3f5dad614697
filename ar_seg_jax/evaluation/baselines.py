"""What a clustering must beat: k-means on the colours of single pixels, and on SIFT descriptors.

The protocols are IIC's (code/scripts/segmentation/baselines/kmeans_and_sift.py), but vectors are drawn evenly from training
batches; pixels that do not count there are not drawn (`interfaces.Batch`).
"""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from ar_seg_jax.evaluation import scoring
from ar_seg_jax.evaluation.sift import STEP, sift_descriptors
from ar_seg_jax.interfaces import Batch, counted
from ar_seg_jax.objectives.clustering import Centroids, find_centroids, nearest


def pixel_centroids(batches: Iterable[Batch], num_clusters: int, seed: int, pixels: int = 50_000) -> Centroids:
    """k-means centroids of the colours (0..1) of about `pixels` pixels; UserError for fewer pixels than clusters."""
    colours = [np.asarray(batch['image'])[np.asarray(counted(batch))] for batch in batches]
    return find_centroids(_drawn(colours, pixels, seed).astype(np.float32) / 255, num_clusters, seed)


def nearest_centroid(
    centroids: Centroids, image: UInt8[Array, 'batch height width channels']
) -> Int[Array, 'batch height width']:
    """The cluster of each pixel by its colour."""
    return nearest(centroids, image.astype(jnp.float32) / 255)


def sift_centroids(batches: Iterable[Batch], num_clusters: int, seed: int, boxes: int = 50_000) -> Centroids:
    """k-means centroids of the SIFT descriptors of about `boxes` boxes; UserError for fewer boxes than clusters."""
    describe = jax.jit(sift_descriptors)
    parts = []
    for batch in batches:
        descriptors = np.asarray(describe(np.asarray(batch['image'])))
        parts.append(descriptors[np.asarray(_centres(counted(batch), descriptors))])
    return find_centroids(_drawn(parts, boxes, seed), num_clusters, seed)


def make_sift_counter(num_clusters: int, num_classes: int) -> scoring.Count:
    """A compiled function (centroids, batch) -> confusion counts at the centres of boxes, whose pixels count nowhere else."""

    @jax.jit
    def count(centroids: Centroids, batch: Batch) -> Int[Array, 'clusters classes']:
        clusters = nearest(centroids, sift_descriptors(batch['image']))
        return scoring.confusion_counts(clusters, _centres(batch['label'], clusters), num_clusters, num_classes)

    return count


def _centres(maps, boxes):
    """What (batch, height, width) maps say at the centres of boxes."""
    high, wide = boxes.shape[1:3]
    return maps[:, STEP // 2 :: STEP, STEP // 2 :: STEP][:, :high, :wide]


def _drawn(
    parts: Sequence[UInt8[np.ndarray, '_ channels'] | Float[np.ndarray, '_ channels']], count: int, seed: int
) -> UInt8[np.ndarray, 'vectors channels'] | Float[np.ndarray, 'vectors channels']:
    """About `count` rows, as many from each part where it has them."""
    rng = np.random.default_rng(seed)
    share = -(-count // len(parts))
    return np.concatenate([rng.choice(part, min(share, len(part)), replace=False) for part in parts])
