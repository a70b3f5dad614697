"""What a clustering must beat: k-means on the colours of single pixels."""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from scipy.cluster.vq import kmeans

from ar_seg_jax.interfaces import Batch

Centroids = Float[Array | np.ndarray, 'clusters channels']


def pixel_centroids(batches: Iterable[Batch], num_clusters: int, seed: int, pixels: int = 50_000) -> Centroids:
    """k-means centroids of the colours (0..1) of pixels drawn evenly from training batches; the best of 5 starts.

    IIC's protocol for this baseline, with SciPy's k-means on a sample in place of mini-batch k-means on all pixels; no
    labels are used, so void pixels take part.
    """
    rng = np.random.default_rng(seed)
    images = [np.asarray(batch['image']) for batch in batches]
    share = -(-pixels // len(images))
    drawn = [rng.choice(image.reshape(-1, image.shape[-1]), min(share, image[..., 0].size), replace=False) for image in images]
    centroids, _ = kmeans(np.concatenate(drawn) / 255, num_clusters, iter=5, rng=rng)
    return centroids.astype(np.float32)


def nearest_centroid(
    centroids: Centroids, image: UInt8[Array, 'batch height width channels']
) -> Int[Array, 'batch height width']:
    """The cluster of each pixel by its colour."""
    colours = image.astype(jnp.float32) / 255
    # |x - c|^2 without |x|^2, which is the same for all c
    distances = jnp.sum(centroids**2, axis=1)[None, None, None] - 2 * colours @ centroids.T
    return jnp.argmin(distances, axis=-1)
