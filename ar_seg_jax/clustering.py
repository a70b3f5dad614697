"""k-means."""

import numpy as np
from jaxtyping import Float
from sklearn.cluster import MiniBatchKMeans


def centroids(
    vectors: Float[np.ndarray, 'vectors channels'], num_clusters: int, seed: int
) -> Float[np.ndarray, 'clusters channels']:
    """Mini-batch k-means (Sculley 2010), the best of five starts; ValueError for fewer vectors than clusters."""
    if len(vectors) < num_clusters:
        raise ValueError(f'{len(vectors)} vectors do not make {num_clusters} clusters')
    found = MiniBatchKMeans(num_clusters, batch_size=4096, n_init=5, random_state=seed).fit(vectors)
    return found.cluster_centers_.astype(np.float32)
