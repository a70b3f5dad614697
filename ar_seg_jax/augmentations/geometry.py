"""Random changes of the place of things, and how maps and labels follow them or are turned back."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ar_seg_jax import orderings
from ar_seg_jax.errors import UserError
from ar_seg_jax.orderings import Ordering

Keys = Key[Array, 'batch']
Maps = Float[Array, 'batch rows columns depth']
Masks = Bool[Array, 'batch rows columns depth']
Size = tuple[int, int]  # rows and columns

# Elements of the square's symmetry group, by the raster scan whose frame they turn an image into.
FLIPS = orderings.stack(('A1', 'B1'))  # left to right or not
TURNS = orderings.stack(('A1', 'B4', 'D3', 'C2'))  # quarter turns
SYMMETRIES = orderings.stack(tuple(orderings.RASTER))


def draw(key: Key[Array, ''], group: Ordering) -> Int[Array, '']:
    """An element of the group, uniformly."""
    return jax.random.randint(key, (), 0, len(group.transpose))


def turn(maps: Maps, group: Ordering, elements: Int[Array, 'batch']) -> Maps:
    """Turns and flips each map; elements that transpose want square maps."""
    return jax.vmap(lambda one, element: orderings.into_frame(one, orderings.choose(group, element), rows=0))(maps, elements)


def turn_back(maps: Maps, group: Ordering, elements: Int[Array, 'batch']) -> Maps:
    """Undoes `turn`: a permutation of pixels, so exact."""
    return jax.vmap(lambda one, element: orderings.out_of_frame(one, orderings.choose(group, element), rows=0))(maps, elements)


def draw_flips(keys: Keys, probability: float) -> Bool[Array, 'batch']:
    """Which images are flipped."""
    return jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)


def flip(maps: Maps | Masks, flipped: Bool[Array, 'batch']) -> Maps | Masks:
    """Maps, or masks, of which these are flipped left to right; twice is not at all."""
    return jnp.where(flipped[:, None, None, None], maps[:, :, ::-1], maps)


class Crop(NamedTuple):
    """A part of each image, which is then flipped or not and takes the place of the whole.

    top, left, height, width: shares of the sides of the image.
    """

    top: Float[Array, 'batch']
    left: Float[Array, 'batch']
    height: Float[Array, 'batch']
    width: Float[Array, 'batch']
    flipped: Bool[Array, 'batch']


def draw_crops(keys: Keys, smallest: float, flip: float) -> Crop:
    """Parts whose sides are a share between `smallest` and 1 of those of the image, the same for both, anywhere in it; flipped
    with the probability `flip`."""

    def one(key):
        side_key, place_key, flip_key = jax.random.split(key, 3)
        side = jax.random.uniform(side_key, minval=smallest, maxval=1)
        top, left = (1 - side) * jax.random.uniform(place_key, (2,))
        return Crop(top, left, side, side, jax.random.bernoulli(flip_key, flip))

    return jax.vmap(one)(keys)


class Grid(NamedTuple):
    """Cells of a map: how many there are, that number i is centred at pixel first + i * stride, and how large the image is."""

    cells: Size
    image: Size
    stride: float = 1.0
    first: float = 0.0

    @classmethod
    def of_pixels(cls, size: Size) -> 'Grid':
        """That of an image itself."""
        return cls(size, size)


def crop(maps: Maps, crops: Crop, source: Grid, target: Grid) -> Float[Array, 'batch {target.cells[0]} {target.cells[1]} depth']:
    """The maps of the parts, from those of the whole images: bilinear, smoothed where cells become fewer.

    source: of the maps. target: of what is wanted; its image is the part in its new size. That of an image and that of its
    feature maps agree to the fraction of a pixel. Beyond the outermost cells these are repeated.
    """
    rows, columns = (
        jax.vmap(lambda place, reach, cells=cells: _shares(place, reach, cells))(places, reaches)
        for (places, reaches), cells in zip(_places(crops, source, target), source.cells, strict=True)
    )
    return jnp.einsum('bij,bkl,bjlc->bikc', rows, columns, maps, precision='highest')


def crop_labels(
    labels: Int[Array, 'batch rows columns'] | Bool[Array, 'batch rows columns'], crops: Crop, source: Grid, target: Grid
):
    """The same for labels and masks: those of the nearest cells."""
    rows, columns = (jnp.round(places).astype(jnp.int32) for places, _ in _places(crops, source, target))
    return jax.vmap(lambda one, rows, columns: one[rows][:, columns])(labels, rows, columns)


def _places(crops: Crop, source: Grid, target: Grid):
    """For rows and columns: where the cells of the target are among those of the source, and how far apart they are there."""
    for axis, (start, share) in enumerate(((crops.top, crops.height), (crops.left, crops.width))):
        pixels = target.first + target.stride * jnp.arange(target.cells[axis], dtype=jnp.float32)
        pixels = jnp.broadcast_to(pixels, (*start.shape, *pixels.shape))
        if axis == 1:
            pixels = jnp.where(crops.flipped[:, None], target.image[axis] - 1 - pixels, pixels)
        scale = (share * source.image[axis] / target.image[axis])[:, None]
        inside = (pixels + 0.5) * scale + start[:, None] * source.image[axis] - 0.5
        places = jnp.clip((inside - source.first) / source.stride, 0, source.cells[axis] - 1)
        yield places, scale[:, 0] * target.stride / source.stride


def _shares(places: Float[Array, 'wanted'], reach: Float[Array, ''], cells: int) -> Float[Array, 'wanted {cells}']:
    """The share of each cell in what is wanted at these places: a triangle, as wide as what it replaces."""
    distances = jnp.abs(places[:, None] - jnp.arange(cells)[None])
    shares = jnp.maximum(0, 1 - distances / jnp.maximum(reach, 1))
    return shares / shares.sum(axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Affine:
    """Ranges of a random affine map about the centre of an image, as IIC's; each is drawn uniformly.

    rotation, shear: at most, degrees to either side; 0 to 180, and 0 to less than 90. scale: smallest and largest factor, above
    0. Raises UserError for other ranges, which are options of methods by the same names.
    """

    rotation: float
    shear: float
    scale: tuple[float, float]

    def __post_init__(self):
        if not 0 <= self.rotation <= 180:
            raise UserError(f'method.rotation is 0 to 180 degrees, found {self.rotation}')
        if not 0 <= self.shear < 90:
            raise UserError(f'method.shear is at least 0 and less than 90 degrees, found {self.shear}')
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f'factors of an affine map are above 0, the smallest first; found {self.scale}')

    def draw(self, keys: Keys) -> Float[Array, 'batch 2 2']:
        """Matrices from the places of the changed image, as seen from its centre, to those of the image."""

        def one(key):
            angle, shear, scale = jax.random.uniform(key, (3,), minval=-1, maxval=1)
            angle, shear = jnp.deg2rad(self.rotation * angle), jnp.deg2rad(self.shear * shear)
            scale = self.scale[0] + (self.scale[1] - self.scale[0]) * (scale + 1) / 2
            return scale * jnp.array([[jnp.cos(angle), -jnp.sin(angle + shear)], [jnp.sin(angle), jnp.cos(angle + shear)]])

        return jax.vmap(one)(keys)


def warp(maps: Maps, matrices: Float[Array, 'batch 2 2']) -> Maps:
    """Maps at the places that the matrices of `Affine.draw` give, bilinear; 0 where there is nothing."""
    import dm_pix  # here for the reason that is given in colours.py

    centre = jnp.array([(length - 1) / 2 for length in maps.shape[1:3]])

    def one(map, matrix):
        offset = centre - matrix @ centre
        whole = jnp.eye(3).at[:2, :2].set(matrix)
        return dm_pix.affine_transform(map, whole, offset=jnp.append(offset, 0), order=1, mode='constant')

    return jax.vmap(one)(maps, matrices)


def warp_back(maps: Maps, matrices: Float[Array, 'batch 2 2']) -> Maps:
    """Maps of warped images where things were before. Interpolated twice, and so close to the original, not equal; 0 where the
    warped image does not show a place."""
    return warp(maps, jnp.linalg.inv(matrices))
