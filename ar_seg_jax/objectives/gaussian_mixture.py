"""Mixtures of Gaussians with full covariances, from moments that are gathered a batch at a time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ar_seg_jax import parallel

# Variance that each component has in all directions, so that none shrinks to a point or a line, as whites that are cut off at 255
# would make it. Vectors have a variance of about 1.
_VARIANCE_FLOOR = 1e-4
_SHARE_FLOOR = 1e-6  # components with less have no shape of their own


class Moments(NamedTuple):
    """Of each component: its share, and the means, over all vectors, of a vector and of its products, where they are its own."""

    shares: Float[Array, 'clusters']
    first: Float[Array, 'clusters channels']
    second: Float[Array, 'clusters channels channels']

    @classmethod
    def initial(cls, num_clusters: int, channels: int) -> 'Moments':
        """Equal components of unit variance around zero."""
        share = 1 / num_clusters
        second = jnp.tile(share * jnp.eye(channels), (num_clusters, 1, 1))
        return cls(jnp.full(num_clusters, share), jnp.zeros((num_clusters, channels)), second)

    @classmethod
    def from_vectors(
        cls,
        vectors: Float[Array, 'images *places channels'],
        memberships: Float[Array, 'images *places clusters'],
        counted: Bool[Array, 'images *places'],
    ) -> 'Moments':
        """Of the vectors that count in the whole batch. memberships: the probabilities of components, for each vector."""
        weights = (memberships * counted[..., None]).reshape(-1, memberships.shape[-1])
        weights /= jnp.maximum(parallel.total(counted.sum()), 1)
        vectors = vectors.reshape(-1, vectors.shape[-1])
        first = jnp.einsum('pk,pc->kc', weights, vectors, precision='highest')

        def second_of(weight):
            return jnp.einsum('pc,pd->cd', weight[:, None] * vectors, vectors, precision='highest')

        # One component after another, since weighed vectors of all of them would not fit into memory.
        return parallel.total(cls(weights.sum(0), first, jax.lax.map(second_of, weights.T)))

    def moved_towards(self, other: 'Moments', rate: Float[Array, '']) -> 'Moments':
        """A step from these moments to others: the stochastic approximation of online EM (Cappé and Moulines 2009, Eq. 6)."""
        return jax.tree.map(lambda old, new: old + rate * (new - old), self, other)


class Components(NamedTuple):
    """The Gaussians.

    log_shares: of all vectors. log_peaks: the logarithm of the density at the mean. inverse_factors: matrices W with W^T W the
    inverse of a covariance.
    """

    log_shares: Float[Array, 'clusters']
    log_peaks: Float[Array, 'clusters']
    means: Float[Array, 'clusters channels']
    inverse_factors: Float[Array, 'clusters channels channels']

    @classmethod
    def from_moments(cls, moments: Moments, shrinkage: float, full_channels: int | None = None) -> 'Components':
        """The components of the greatest likelihood, but for three bounds on their covariances.

        shrinkage: the share of each covariance that is the mean of all, weighed by their shares; with 1 all have the same shape.
        Without it a component may grow, over hundreds of steps, over others that are not Gaussian (docs/label_maps.md). All have
        a small variance in each direction besides, and those that hardly any vector is in have the mean covariance.

        full_channels: of how many channels, the first ones, components have covariances of their own; by default of all. The
        others have one covariance for all components, and none with the first ones.
        """
        means = moments.first / jnp.maximum(moments.shares, 1e-30)[:, None]
        second = moments.second / jnp.maximum(moments.shares, 1e-30)[:, None, None]
        shares = jnp.maximum(moments.shares, _SHARE_FLOOR)
        shares /= shares.sum()
        covariances = second - means[:, :, None] * means[:, None]
        mean_covariance = jnp.einsum('k,kcd->cd', shares, covariances, precision='highest')[None]
        channels = means.shape[1]
        full = np.arange(channels) < (channels if full_channels is None else full_channels)
        shrunk = jnp.where(moments.shares > _SHARE_FLOOR, shrinkage, 1.0)[:, None, None]
        shrunk = jnp.where(full[None, None], shrunk, 1.0)
        covariances = ((1 - shrunk) * covariances + shrunk * mean_covariance) * (full[:, None] == full[None])[None]
        # Where the mean of a narrow component is far from zero, rounding may leave it a variance below zero in some direction.
        variances, directions = jnp.linalg.eigh(covariances)
        variances = jnp.maximum(variances, 0) + _VARIANCE_FLOOR
        log_peaks = -jnp.sum(jnp.log(2 * np.pi * variances), axis=1) / 2
        inverse_factors = jnp.swapaxes(directions, 1, 2) / jnp.sqrt(variances)[..., None]
        return cls(jnp.log(shares), log_peaks, means, inverse_factors)

    def log_joint(self, vectors: Float[Array, '*places channels']) -> Float[Array, '*places clusters']:
        """log p(vector, component) in nats: its softmax are the probabilities of components, its log-sum-exp the likelihood."""

        def of_one(component):
            peak, mean, inverse_factor = component
            centred = vectors - jnp.expand_dims(mean, range(vectors.ndim - 1))
            return peak - jnp.sum(jnp.einsum('...c,dc->...d', centred, inverse_factor, precision='highest') ** 2, axis=-1) / 2

        densities = jax.lax.map(of_one, (self.log_peaks + self.log_shares, self.means, self.inverse_factors))
        return jnp.moveaxis(densities, 0, -1)
