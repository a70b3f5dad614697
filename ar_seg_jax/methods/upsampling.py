"""Maps of cells at the pixels of an image, with the edges of the image."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float

_RADIUS = 2  # cells to each side
_DISTANCE = 0.5  # standard deviation of the weights of cells by their distance, in cells
_CONTRAST = 0.1  # and by the distance of colours, of channels from 0 to 1
_UNLIKE = 1e-6  # the weight by colour of cells that are as unlike as can be: where all are, pixels take the nearest ones


def bilateral(
    maps: Float[Array, 'batch map_height map_width depth'],
    image: Float[Array, 'batch height width channels'],
    stride: int,
    first: float,
) -> Float[Array, 'batch height width depth']:
    """Joint bilateral upsampling (Kopf, Cohen, Lischinski and Uyttendaele 2007) by an image in [0, 1].

    Cell i of the maps is centred at pixel `first` + i * `stride`. A pixel gets the mean of the 5 x 5 cells around it, with
    weights that fall with their distance and with that of their colour from its own, both as Gaussians; the colour of a cell is
    the mean of its pixels. The paper chooses the standard deviations by the image; here they are half a cell and 0.1.
    """
    cells, size = maps.shape[1:3], image.shape[1:3]
    means = (_means(*sides, stride, first) for sides in zip(cells, size, strict=True))
    colours = jnp.einsum('rh,cw,bhwd->brcd', *means, image, precision='highest')
    both = jnp.concatenate([maps, colours], axis=-1)
    places = [(_pixels(length) - first) / stride for length in size]

    def add(totals, offset):
        taken, distances = zip(*map(_neighbours, places, cells, offset), strict=True)
        found = both[:, taken[0]][:, :, taken[1]]
        unlike = jnp.sum((image - found[..., maps.shape[-1] :]) ** 2, -1) / _CONTRAST**2
        distance = (distances[0][:, None] + distances[1][None])[None] / _DISTANCE**2
        weights = (jnp.exp(-distance / 2) * (jnp.exp(-unlike / 2) + _UNLIKE))[..., None]
        return jax.tree.map(jnp.add, totals, (weights * found[..., : maps.shape[-1]], weights)), None

    offsets = jnp.stack(jnp.meshgrid(*2 * [jnp.arange(-_RADIUS, _RADIUS + 1)]), -1).reshape(-1, 2)
    nothing = jnp.zeros((*image.shape[:3], maps.shape[-1])), jnp.zeros((*image.shape[:3], 1))
    (totals, weights), _ = jax.lax.scan(add, nothing, offsets)
    return totals / weights


def reach(stride: int) -> int:
    """Pixels beyond which a pixel does not depend on cells or colours."""
    return (_RADIUS + 1) * stride


def _neighbours(places, cells: int, offset):
    """The cells of one axis that are so far from the nearest one of each place, and the squares of their distances from it; those
    beyond the maps are infinitely far."""
    chosen = jnp.clip(jnp.round(places), 0, cells - 1).astype(jnp.int32) + offset
    inside = (chosen >= 0) & (chosen < cells)
    return jnp.clip(chosen, 0, cells - 1), jnp.where(inside, (places - chosen) ** 2, jnp.inf)


def _means(cells: int, length: int, stride: int, first: float):
    """The share of each pixel of an axis in the mean of each cell."""
    xp = jnp if export.is_symbolic_dim(length) else np
    covered = xp.abs(_pixels(length)[None] - first - stride * xp.arange(cells)[:, None]) <= (stride - 1) / 2
    return (covered / xp.maximum(covered.sum(1, keepdims=True), 1)).astype(np.float32)


def _pixels(length: int):
    """Constants of the program, unless the sizes are symbolic."""
    return jnp.arange(length) if export.is_symbolic_dim(length) else np.arange(length)
