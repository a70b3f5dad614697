"""Mixtures of Gaussians with full covariances, from moments that are gathered a batch at a time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

# Variance that each component has in all directions, so that none shrinks to a point or a line, as whites that are cut off at 255
# would make it. Vectors have a variance of about 1.
_FLOOR = 1e-4
_FEWEST = 1e-6  # share of a component; one that has less keeps a finite mean


class Moments(NamedTuple):
    """Of each component: its share, and the means, over all vectors, of a vector and of its products, where they are its own."""

    shares: Float[Array, 'clusters']
    first: Float[Array, 'clusters channels']
    second: Float[Array, 'clusters channels channels']

    @classmethod
    def none(cls, num_clusters: int, channels: int) -> 'Moments':
        """Equal components of unit variance around zero."""
        share = 1 / num_clusters
        second = jnp.tile(share * jnp.eye(channels), (num_clusters, 1, 1))
        return cls(jnp.full(num_clusters, share), jnp.zeros((num_clusters, channels)), second)

    @classmethod
    def of(
        cls,
        vectors: Float[Array, 'images *places channels'],
        memberships: Float[Array, 'images *places clusters'],
        counted: Bool[Array, 'images *places'],
    ) -> 'Moments':
        """Of the vectors that count. memberships: the probabilities of components, for each vector."""
        weights = (memberships * counted[..., None]).reshape(-1, memberships.shape[-1])
        weights /= jnp.maximum(counted.sum(), 1)
        vectors = vectors.reshape(-1, vectors.shape[-1])
        first = jnp.einsum('pk,pc->kc', weights, vectors, precision='highest')
        second = jnp.einsum('pk,pc,pd->kcd', weights, vectors, vectors, precision='highest')
        return cls(weights.sum(0), first, second)

    def towards(self, other: 'Moments', rate: Float[Array, '']) -> 'Moments':
        """A step from these moments to others: the stochastic approximation of online EM (Cappé and Moulines 2009, Eq. 6)."""
        return jax.tree.map(lambda old, new: old + rate * (new - old), self, other)


class Components(NamedTuple):
    """The Gaussians. inverse_factors: matrices W with W^T W the inverse of a covariance."""

    log_shares: Float[Array, 'clusters']
    means: Float[Array, 'clusters channels']
    inverse_factors: Float[Array, 'clusters channels channels']

    @classmethod
    def of(cls, moments: Moments, shrinkage: float, own: int | None = None) -> 'Components':
        """Those of the greatest likelihood; but of each covariance the share `shrinkage` is that of all components together.

        Without, a component may grow over others that are not Gaussian, as the background of a microscope did here: slowly, and
        with hundreds of steps. With a shrinkage of 1 all have the same shape.

        own: of how many channels, the first ones, covariances are the components' own, by default of all. The others have one
        covariance for all components, and none with the first ones.
        """
        shares = jnp.maximum(moments.shares, _FEWEST)
        means = moments.first / shares[:, None]
        covariances = moments.second / shares[:, None, None] - means[:, :, None] * means[:, None]
        pooled = jnp.einsum('k,kcd->cd', shares / shares.sum(), covariances, precision='highest')
        channels = np.arange(means.shape[1])
        first = channels < (means.shape[1] if own is None else own)
        shrunk = jnp.where(first, shrinkage, 1.0)[None, None]
        covariances = ((1 - shrunk) * covariances + shrunk * pooled[None]) * (first[:, None] == first)[None]
        # Where the mean of a narrow component is far from zero, rounding may leave it a variance below zero in some direction.
        variances, directions = jnp.linalg.eigh(covariances)
        inverse_factors = jnp.swapaxes(directions, 1, 2) / jnp.sqrt(jnp.maximum(variances, 0) + _FLOOR)[..., None]
        return cls(jnp.log(shares / shares.sum()), means, inverse_factors)

    def log_joint(self, vectors: Float[Array, '*places channels']) -> Float[Array, '*places clusters']:
        """log p(vector, component) in nats: its softmax are the probabilities of components, its log-sum-exp the likelihood."""
        scaled = jnp.einsum('...c,kdc->...kd', vectors, self.inverse_factors, precision='highest')
        shift = jnp.einsum('kc,kdc->kd', self.means, self.inverse_factors, precision='highest')
        distances = jnp.sum((scaled - jnp.expand_dims(shift, range(vectors.ndim - 1))) ** 2, axis=-1)
        _, heights = jnp.linalg.slogdet(self.inverse_factors)
        constants = self.log_shares + heights - vectors.shape[-1] / 2 * np.log(2 * np.pi)
        return jnp.expand_dims(constants, range(vectors.ndim - 1)) - distances / 2
