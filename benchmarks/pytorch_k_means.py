"""k-means in PyTorch, as objectives/k_means.py has it: Lloyd's algorithm on some vectors, then moved by batches of others.

PiCIE's released code leaves the first part to faiss. Vectors are (number, channels) and centroids (clusters, channels).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_SPLIT = 1 / 1024  # by how much of itself each channel of the two halves of a split cluster is moved apart


class Clusters(NamedTuple):
    """Centroids, and how many vectors each has been given so far, as floats."""

    centroids: Tensor
    sizes: Tensor


def nearest(vectors: Tensor, centroids: Tensor) -> Tensor:
    """The number of the centroid that is nearest to each vector."""
    return (2 * vectors @ centroids.T - (centroids**2).sum(1)).argmax(1)


def totals(vectors: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of the vectors that are nearest to each centroid, and their number. A product is faster here than scattered sums."""
    chosen = F.one_hot(nearest(vectors, centroids), len(centroids)).to(vectors.dtype)
    return chosen.T @ vectors, chosen.sum(0)


Totals = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # the function above, or what torch.compile makes of it


def drawn(vectors: Tensor, count: int) -> Tensor:
    """So many of the vectors."""
    return vectors[torch.randperm(len(vectors), device=vectors.device)[:count]]


def find(vectors: Tensor, num_clusters: int, iterations: int, totals: Totals = totals) -> Clusters:
    """Lloyd's algorithm from vectors that are drawn."""
    centroids = drawn(vectors, num_clusters)
    for _ in range(iterations):
        sums, sizes = totals(vectors, centroids)
        moved = torch.where(sizes[:, None] > 0, sums / sizes.clamp_min(1)[:, None], centroids)
        centroids = split_empty(Clusters(moved, sizes)).centroids
    return Clusters(centroids, totals(vectors, centroids)[1])


def update(clusters: Clusters, vectors: Tensor, totals: Totals = totals) -> Clusters:
    """Centroids move towards the mean of the vectors they get, by the share of these in all that they ever got."""
    sums, counts = totals(vectors, clusters.centroids)
    sizes = clusters.sizes + counts
    means, rates = sums / counts.clamp_min(1)[:, None], counts / sizes.clamp_min(1)
    return Clusters(clusters.centroids + rates[:, None] * (means - clusters.centroids), sizes)


def split_empty(clusters: Clusters) -> Clusters:
    """Each cluster without a vector becomes a half of another one, which is drawn by its size, as faiss does it."""
    centroids, sizes = (each.clone() for each in clusters)
    apart = torch.full_like(centroids[0], _SPLIT)
    apart[1::2] = -_SPLIT
    for number in (sizes == 0).nonzero()[:, 0]:
        donor = torch.multinomial((sizes - 1).clamp_min(0), 1)[0]
        centroid, half = centroids[donor].clone(), sizes[donor] / 2
        centroids[donor], centroids[number] = centroid * (1 - apart), centroid * (1 + apart)
        sizes[donor] = sizes[number] = half
    return Clusters(centroids, sizes)
