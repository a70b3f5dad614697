"""Scores averaged over regions of an image, such as superpixels (as in InMARS, Mirsadeghi et al. 2021)."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

Assignment = Float[Array, 'batch height width clusters']
Regions = Int[Array, 'batch height width']  # the number of the region of each pixel, from 0 to less than height * width
Mask = Bool[Array, 'batch height width']


def over_regions(scores: Assignment, regions: Regions, mask: Mask | None = None) -> Assignment:
    """At each pixel the mean over those pixels of its region that count; 0 where none does.

    The joint distribution of two such maps at the same pixels is that of the regions, weighted by how many of their pixels count.
    There can be as many regions as pixels, so that none is lost whatever an image looks like.

    Under a mesh (`jax.set_mesh`) over which images are split each device sums over the regions of its images, so that no map is
    sent.
    """
    mask = jnp.ones(regions.shape, bool) if mask is None else mask
    each, mesh = jax.vmap(_over_regions), jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.manual_axes:
        return each(scores, regions, mask)
    (axis,) = mesh.axis_names
    return jax.shard_map(each, in_specs=PartitionSpec(axis), out_specs=PartitionSpec(axis))(scores, regions, mask)


def _over_regions(
    scores: Float[Array, 'height width clusters'], regions: Int[Array, 'height width'], mask: Bool[Array, 'height width']
) -> Float[Array, 'height width clusters']:
    numbers, counts = regions.reshape(-1), mask.reshape(-1, 1).astype(jnp.float32)

    def summed(values):
        return jax.ops.segment_sum(values, numbers, regions.size)

    sums = summed(scores.astype(jnp.float32).reshape(-1, scores.shape[-1]) * counts)
    return (sums / jnp.maximum(summed(counts), 1))[numbers].reshape(scores.shape)
