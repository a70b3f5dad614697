"""Where the two patches of a pair lie, and what is taken from maps there."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

Offset = Float[Array, '2']
Size = tuple[int, int]  # rows and columns
# From a key that is the same for all tries of a pair, and one of the try: the offset of the other centre, and the label.
Proposal = Callable[[Key[Array, ''], Key[Array, '']], tuple[Offset, Int[Array, '']]]

SMALLEST = 5  # patches that the shorter side of an image must have room for; every first centre then leaves room for another


class Pair(NamedTuple):
    """first, second: the centres of the patches, pixels as (row, column). label: what is to be told from them."""

    first: Int[Array, '*batch 2']
    second: Int[Array, '*batch 2']
    label: Int[Array, '*batch']


def draw(key: Key[Array, ''], size: Size, patch: int, propose: Proposal) -> Pair:
    """A pair of patches of `patch` (odd) pixels a side in an image.

    The first centre is uniform where a patch and a half are on all sides of it, [1.5 p, S - 1.5 p)^2, rounded down. The other
    one is proposed until all of its patch is inside the image, as in IIC's code. Its offset is rounded to whole pixels.
    """
    centre_key, fixed, tries = jax.random.split(key, 3)
    sides, half = jnp.array(size), patch // 2
    place = jax.random.uniform(centre_key, (2,), minval=1.5 * patch, maxval=sides - 1.5 * patch)
    first = jnp.floor(place).astype(jnp.int32)

    def attempt(number):
        offset, label = propose(fixed, jax.random.fold_in(tries, number))
        return first + jnp.round(offset).astype(jnp.int32), label

    def is_outside(number):
        second, _ = attempt(number)
        return jnp.any((second < half) | (second >= sides - half))

    return Pair(first, *attempt(jax.lax.while_loop(is_outside, lambda number: number + 1, 0)))


def turned(distance: Float[Array, ''], angle: Float[Array, '']) -> Offset:
    """The offset, in rows and columns, of what is at this distance in this direction (radians, 0 is to the right)."""
    return distance * jnp.stack([jnp.sin(angle), jnp.cos(angle)])


def take(
    to_pixels: Callable[..., Array],
    maps: Float[Array, 'batch map_height map_width channels'],
    size: Size,
    centres: Int[Array, 'batch 2'],
    patch: int,
) -> Float[Array, 'batch {patch} {patch} channels']:
    """The patches around `centres` of what `to_pixels(maps, *size)` gives, see `interfaces.Model`, float32.

    Only these pixels are interpolated. What is interpolated follows from the shares of each row and each column of cells in each
    of pixels, which are found by interpolating unit vectors along one axis at a time.
    """
    height, width = maps.shape[1:3]
    rows = to_pixels(jnp.eye(height)[None, :, None], size[0], 1)[0, :, 0]
    columns = to_pixels(jnp.eye(width)[None, None], 1, size[1])[0, 0]

    def of_patches(shares, places):
        return jax.vmap(lambda place: jax.lax.dynamic_slice_in_dim(shares, place - patch // 2, patch))(places)

    taken = jnp.einsum('bpr,brcd->bpcd', of_patches(rows, centres[:, 0]), maps, precision='highest')
    return jnp.einsum('bqc,bpcd->bpqd', of_patches(columns, centres[:, 1]), taken, precision='highest')
