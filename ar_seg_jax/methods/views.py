"""Two views of an image whose maps show the same places: cut before the network, or after it (Cho et al. 2021, PiCIE)."""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, UInt8

from ar_seg_jax import layers
from ar_seg_jax.augmentations import geometry, inputs, photometric
from ar_seg_jax.augmentations.geometry import Crop, Grid
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Batch, Model, counted

Colours = Literal['none', 'paper', 'released']
Images = UInt8[Array, 'batch height width inputs']
Input = Float[Array, 'batch _ _ inputs']  # images as the network sees them
Maps = Float[Array, 'batch map_height map_width channels']


class Drawn(NamedTuple):
    """What is random about the views of each image: keys of the colours of both, the part of the image that they show, and a key
    for places in it."""

    first: Key[Array, 'batch']
    second: Key[Array, 'batch']
    crops: Crop
    places: Key[Array, 'batch']


@dataclasses.dataclass(frozen=True)
class PairedViews:
    """How views are made.

    colours: 'none', or a name of `photometric.PICIE`.
    smallest_crop: views show a part of the image whose sides are at least this share of those of the image.
    flip: probability that the part is mirrored.
    shrink: pixels of an image to one that the network sees, along each side. PiCIE's images are 640 pixels wide and its views
        320, so that parts of half the width have all their detail.

    PiCIE rounds the part to pixels of the image and to cells of the map, by itself each, which may be a cell apart. Here
    both are exact for a network whose cells look where its `first_cell` and `output_stride` say.
    """

    colours: Colours
    smallest_crop: float
    flip: float
    shrink: int

    def __post_init__(self):
        if not 0 < self.smallest_crop <= 1:
            raise UserError(f'method.smallest_crop is a share of the sides of an image, above 0 to 1; found {self.smallest_crop}')
        if not 0 <= self.flip <= 1:
            raise UserError(f'method.flip is a probability, 0 to 1; found {self.flip}')
        if self.shrink < 1:
            raise UserError(f'method.shrink is at least 1 pixel, found {self.shrink}')

    def check(self, model: Model):
        """UserError for a model of whose maps no part can be cut exactly."""
        if model.first_cell is None:
            raise UserError(
                'two views need a model whose cells lie on a regular grid of pixels, but the maps of this one are stretched over '
                "the image; choose another model, or set model.geometry to 'aligned'"
            )

    def draw(self, image: Images, key: Key[Array, '']) -> Drawn:
        """Of each image by its pixels and the key, which is that of an epoch."""
        keys = inputs.keys_of(image, key)
        first, second, crops, places = (jax.vmap(jax.random.fold_in, (0, None))(keys, number) for number in range(4))
        return Drawn(first, second, geometry.draw_crops(crops, self.smallest_crop, self.flip), places)

    def first(self, model: Model, image: Images, drawn: Drawn) -> Input:
        """The part of each image, in the size of the whole, as the network sees it."""
        changed = self._coloured(inputs.to_unit(image), drawn.first)
        return model.normalisation.apply(geometry.crop(changed, drawn.crops, _pixels(image), self._shrunk_pixels(image)))

    def second(self, model: Model, image: Images, drawn: Drawn) -> Input:
        """Each image in other colours, whole: its maps show the same as those of the first view after `cut`."""
        return model.normalisation.apply(self._shrunk(self._coloured(inputs.to_unit(image), drawn.second)))

    def whole(self, model: Model, image: Images) -> Input:
        """Each image unchanged, as the network sees it."""
        return model.normalisation.apply(self._shrunk(inputs.to_unit(image)))

    def cut(self, model: Model, maps: Maps, image: Images, drawn: Drawn) -> Maps:
        """The part of maps of whole images, in cells of the same size."""
        cells = self._cells(model, maps, image)
        return geometry.crop(maps, drawn.crops, cells, cells)

    def counted(self, model: Model, maps: Maps, batch: Batch, drawn: Drawn) -> Bool[Array, 'batch map_height map_width']:
        """Which cells of maps of the part count: as the pixel at their centre does."""
        cells = self._cells(model, maps, batch['image'])
        return geometry.crop_labels(jnp.asarray(counted(batch)), drawn.crops, _pixels(batch['image']), cells)

    def reach(self, model: Model) -> int | None:
        """Pixels of the image, see `interfaces.Model`.

        With `shrink`, the averages that the network sees look one of its pixels further, and so does the interpolation of what it
        gives.
        """
        if model.reach is None or self.shrink == 1:
            return model.reach
        return self.shrink * (model.reach + 2)

    def to_pixels(self, model: Model, maps: Maps, height: int, width: int) -> Float[Array, 'batch {height} {width} channels']:
        """Maps of whole images at their pixels, see `interfaces.Model`."""
        if self.shrink == 1:
            return model.to_pixels(maps, height, width)
        seen = model.to_pixels(maps, *(-(-side // self.shrink) for side in (height, width)))
        return layers.upsample(seen, self.shrink, height, width, first=self._at(0.0))

    def first_cell(self, model: Model) -> float | None:
        """Pixel of the image, see `interfaces.Model`."""
        return None if model.first_cell is None else self._at(model.first_cell)

    def _at(self, pixel: float) -> float:
        """Where a pixel that the network sees is centred in the image."""
        return self.shrink * pixel + (self.shrink - 1) / 2

    def _coloured(self, image, keys):
        return image if self.colours == 'none' else photometric.PICIE[self.colours](keys, image)

    def _shrunk(self, image):
        if self.shrink == 1:
            return image
        one, zero = jnp.ones(image.shape[0]), jnp.zeros(image.shape[0])
        whole = Crop(top=zero, left=zero, height=one, width=one, flipped=zero > 0)
        return geometry.crop(image, whole, _pixels(image), self._shrunk_pixels(image))

    def _shrunk_pixels(self, image) -> Grid:
        """The pixels that the network sees, among those of the image."""
        height, width = image.shape[1:3]
        return Grid((-(-height // self.shrink), -(-width // self.shrink)), (height, width), self.shrink, self._at(0.0))

    def _cells(self, model: Model, maps: Maps, image) -> Grid:
        """The cells of the maps of a model, among the pixels of the image."""
        return Grid(maps.shape[1:3], image.shape[1:3], self.shrink * model.output_stride, self.first_cell(model))


def _pixels(image) -> Grid:
    return Grid.of_pixels(image.shape[1:3])
