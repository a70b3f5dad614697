"""Principal components, of unit variance or as they are, from the vectors of many batches."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax.objectives.k_means import Block

# Of the largest variance. Components below it are rounding, and would be noise as loud as the rest.
_SMALLEST = 1e-6


class Whitening(NamedTuple):
    """x -> (x - mean) @ matrix."""

    mean: Float[Array, 'channels']
    matrix: Float[Array, 'channels components']

    def __call__(self, vectors: Float[Array, '*places channels']) -> Float[Array, '*places components']:
        mean = jnp.expand_dims(self.mean, range(vectors.ndim - 1))
        return jnp.matmul(vectors - mean, self.matrix, precision='highest')

    @classmethod
    def none(cls, channels: int, components: int) -> 'Whitening':
        """The first components as they are."""
        return cls(jnp.zeros(channels), jnp.eye(channels, components))


def find(blocks: Sequence[Block], components: int, whiten: bool = True) -> Whitening:
    """The map to so many principal components, each divided by its standard deviation (Caron et al. 2018, section 3.3) or, where
    they are not whitened, all of them by that of the first one.

    Two passes over the blocks, since the covariance from sums of squares would lose its digits. Each direction points to where
    its largest channel is positive.
    """
    channels = blocks[0].vectors.shape[-1]
    total, count = jnp.zeros(channels), jnp.zeros(())
    for block in blocks:
        total, count = _summed(total, count, block)
    mean = total / jnp.maximum(count, 1)
    scatter = jnp.zeros((channels, channels))
    for block in blocks:
        scatter = _scattered(scatter, mean, block)
    return _whitening(mean, scatter / jnp.maximum(count, 1), components, whiten)


@jax.jit
def _summed(total, count, block: Block):
    return total + jnp.sum(block.vectors * block.counted[..., None], (0, 1)), count + block.counted.sum()


@jax.jit
def _scattered(scatter, mean, block: Block):
    centred = (block.vectors - mean[None, None]) * block.counted[..., None]
    return scatter + jnp.einsum('ipc,ipd->cd', centred, centred, precision='highest')


@functools.partial(jax.jit, static_argnums=(2, 3))
def _whitening(mean, covariance, components: int, whiten: bool) -> Whitening:
    variances, directions = jnp.linalg.eigh(covariance)  # ascending
    variances, directions = variances[::-1][:components], directions[:, ::-1][:, :components]
    largest = jnp.take_along_axis(directions, jnp.abs(directions).argmax(0)[None], axis=0)
    least = _SMALLEST * jnp.maximum(variances[0], _SMALLEST)
    scale = jax.lax.rsqrt(jnp.maximum(variances if whiten else jnp.full_like(variances, variances[0]), least))
    return Whitening(mean, directions * jnp.sign(largest) * scale[None])
