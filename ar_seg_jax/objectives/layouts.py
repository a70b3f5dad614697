"""What images show at their places on average: a coarse map of features, stretched over all images alike.

Places in an image go from 0 to 1, down and to the right. A box of an image is its top, left, height and width, in these units.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Boxes = Float[Array, 'batch 4']
Maps = Float[Array, 'batch map_height map_width channels']


class Layout(NamedTuple):
    """Sums of features around each place of a coarse grid, and of their weights."""

    sums: Float[Array, 'grid grid channels']
    weights: Float[Array, 'grid grid']

    @classmethod
    def none(cls, grid: int, channels: int) -> 'Layout':
        return cls(jnp.zeros((grid, grid, channels)), jnp.zeros((grid, grid)))

    def with_maps(self, maps: Maps, counted: Bool[Array, 'batch map_height map_width'], boxes: Boxes) -> 'Layout':
        """With the maps of parts of images, at these boxes; each cell is shared by the four places of the grid around it."""
        rows, columns = self._shares(maps.shape[1:3], boxes)
        weighed = jnp.concatenate([maps, jnp.ones_like(maps[..., :1])], axis=-1) * counted[..., None]
        found = jnp.einsum('bhg,bhwc,bwk->gkc', rows, weighed, columns, precision='highest')
        return Layout(self.sums + found[..., :-1], self.weights + found[..., -1])

    def at(self, height: int, width: int, boxes: Boxes) -> Float[Array, 'batch {height} {width} channels']:
        """The means at the cells of maps of this size, between places linearly; zero where nothing has been seen."""
        means = self.sums / jnp.maximum(self.weights, 1e-6)[..., None]
        rows, columns = self._shares((height, width), boxes)
        return jnp.einsum('bhg,gkc,bwk->bhwc', rows, means, columns, precision='highest')

    def _shares(self, size: tuple[int, int], boxes: Boxes) -> list[Float[Array, 'batch cells grid']]:
        """Of the places of the grid in the cells along each side: a linear interpolation, whose weights add up to 1."""
        grid = self.weights.shape[0]
        shares = []
        for axis, cells in enumerate(size):
            centres = boxes[:, axis, None] + boxes[:, 2 + axis, None] * (jnp.arange(cells)[None] + 0.5) / cells
            places = jnp.clip(centres * grid - 0.5, 0, grid - 1)
            shares.append(jnp.maximum(1 - jnp.abs(places[..., None] - jnp.arange(grid)[None, None]), 0))
        return shares


def whole(images: int) -> Boxes:
    """The boxes of images that are whole."""
    return jnp.tile(jnp.array([0.0, 0.0, 1.0, 1.0]), (images, 1))
