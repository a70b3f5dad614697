"""Mini-batch k-means of vectors, the nearest of its centroids, and what clusters are like."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Remark

Centroids = Float[Array | np.ndarray, 'clusters channels']

# The entropy of clusters below this share of log K means that nearly all pixels are in one of them.
_COLLAPSED = 0.1
# Added to squared lengths, so that the gradient at zero is finite.
_SMALLEST_LENGTH = 1e-12


def find_centroids(features: Float[np.ndarray, 'vectors channels'], num_clusters: int, seed: int) -> Centroids:
    """Centroids (float32) of feature vectors by scikit-learn's mini-batch k-means, as IIC clusters pixels, descriptors and
    features (code/scripts/segmentation/baselines).

    It begins at the best of 5 k-means++ starts (IIC: 3) and takes the defaults of today's scikit-learn, so batches of 1024
    vectors. Equal seeds give equal centroids. UserError for fewer vectors than clusters, and for vectors that are not finite.
    """
    # Imported here: joblib, which scikit-learn brings, tries out a temporary directory, and prediction must not write there.
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    if len(features) < num_clusters:
        raise UserError(f'k-means: {len(features)} vectors are fewer than {num_clusters} clusters')
    # Threads sum in any order, and when k-means stops depends on the sum: processes would differ.
    with threadpool_limits(1):
        fitted = MiniBatchKMeans(num_clusters, n_init=5, random_state=seed).fit(np.asarray(features, np.float32))
    return fitted.cluster_centers_.astype(np.float32)


def nearest(centroids: Centroids, vectors: Float[Array, '*places channels']) -> Int[Array, '*places']:
    """The cluster of each vector: the number of its nearest centroid."""
    return jnp.argmax(nearness(centroids, vectors), axis=-1)


def nearness(centroids: Centroids, vectors: Float[Array, '*places channels']) -> Float[Array, '*places clusters']:
    """Minus the squared distance to each centroid, up to |x|^2, which is the same for all of them; linear in the vectors."""
    lengths = jnp.sum(centroids**2, axis=1)
    return 2 * products(centroids, vectors) - jnp.expand_dims(lengths, range(vectors.ndim - 1))


def products(centroids: Centroids, vectors: Float[Array, '*places channels']) -> Float[Array, '*places clusters']:
    """The inner product with each centroid."""
    return jnp.matmul(vectors, centroids.T, precision='highest')


def unit(vectors: Float[Array, '*places channels']) -> Float[Array, '*places channels']:
    """Vectors of length 1; those of length 0, which a ReLU may give, stay so."""
    return vectors * jax.lax.rsqrt(jnp.sum(vectors**2, axis=-1, keepdims=True) + _SMALLEST_LENGTH)


def evenness(totals: Float[Array, 'clusters']) -> dict[str, Float[Array, '']]:
    """Scalars to log from the sums of the probabilities of clusters, or from counts: the entropy of their shares, and the most it
    can be, in nats."""
    shares = totals / jnp.maximum(totals.sum(), _SMALLEST_LENGTH)
    entropy = -jnp.sum(jax.scipy.special.xlogy(shares, shares))
    return {'entropy': entropy, 'entropy_bound': jnp.log(float(len(totals)))}


def remark(words: str, entropy: float, bound: float, advice: str) -> Remark:
    """`words`, with a warning if nearly all pixels are in one cluster, from the entropy of clusters, in nats, and its bound.

    advice: what to try then.
    """
    if entropy >= _COLLAPSED * bound:
        return Remark(words)
    return Remark(
        words,
        f'Clusters have collapsed: their entropy is {entropy:.4f} of {bound:.4f} nats, nearly all pixels are in one of them. Try '
        f'{advice}.',
    )
