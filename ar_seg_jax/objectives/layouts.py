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
        rows, columns = (
            self._shares(maps.shape[1], boxes[:, 0], boxes[:, 2]),
            self._shares(maps.shape[2], boxes[:, 1], boxes[:, 3]),
        )
        weighed = jnp.concatenate([maps, jnp.ones_like(maps[..., :1])], axis=-1) * counted[..., None]
        found = jnp.einsum('bhg,bhwc,bwk->gkc', rows, weighed, columns, precision='highest')
        return Layout(self.sums + found[..., :-1], self.weights + found[..., -1])

    def at(self, height: int, width: int, boxes: Boxes) -> Float[Array, 'batch {height} {width} channels']:
        """The means at the cells of maps of this size, between places linearly; zero where nothing has been seen."""
        means = self.sums / jnp.maximum(self.weights, 1e-6)[..., None]
        rows, columns = self._shares(height, boxes[:, 0], boxes[:, 2]), self._shares(width, boxes[:, 1], boxes[:, 3])
        return jnp.einsum('bhg,gkc,bwk->bhwc', rows, means, columns, precision='highest')

    def _shares(
        self, cells: int, start: Float[Array, 'batch'], length: Float[Array, 'batch']
    ) -> Float[Array, 'batch {cells} grid']:
        """Of the places of the grid in each cell along one side: a linear interpolation, whose weights add up to 1."""
        grid = self.weights.shape[0]
        centres = start[:, None] + length[:, None] * (jnp.arange(cells)[None] + 0.5) / cells
        places = jnp.clip(centres * grid - 0.5, 0, grid - 1)
        return jnp.maximum(1 - jnp.abs(places[..., None] - jnp.arange(grid)[None, None]), 0)


def whole(images: int) -> Boxes:
    """The boxes of images that are whole."""
    return jnp.tile(jnp.array([0.0, 0.0, 1.0, 1.0]), (images, 1))
