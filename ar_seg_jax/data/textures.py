"""Collages of texture photographs with exact labels: a data set for a fresh machine, made offline in seconds.

Brick, grass and gravel are photographs under CC0 that scikit-image ships. Their grey values are equalised, so that every
texture has the same histogram and colour alone says nothing. The left half of each photograph goes into the training
collages and the right half into the validation ones, so that no pixel is in both.
"""

import dataclasses

import numpy as np
import skimage.data
import skimage.transform
from jaxtyping import Float, UInt8

from ar_seg_jax.data.builder import SegmentationBuilder, SegmentationConfig, config_name, example
from ar_seg_jax.data.classes import Class, colours
from ar_seg_jax.data.limits import DataError

PHOTOGRAPHS = ('brick', 'grass', 'gravel')
_REGIONS = 6  # of a collage


@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class TexturesConfig(SegmentationConfig):
    size: int
    scale: float
    count: dict[str, int]
    seed: int


class Textures(SegmentationBuilder):
    """Collages of three textures. See `builder` for the options."""

    builder_config: TexturesConfig

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.builder_config.count}

    def _generate_examples(self, split: str):
        config = self.builder_config
        photographs = [_half(photograph(name, config.scale), split) for name in PHOTOGRAPHS]
        rng = np.random.default_rng([config.seed, list(config.count).index(split)])
        for index in range(config.count[split]):
            grey, label = collage(photographs, config.size, rng)
            yield example(f'{split}_{index:04d}', np.repeat(grey[..., None], 3, axis=2), label)


def builder(
    *, data_dir: str, size: int = 128, scale: float = 0.5, train_count: int = 400, val_count: int = 60, seed: int = 0
) -> Textures:
    """Builder for collages of `size` pixels, `scale` times the size of the photographs (512 pixels); splits train, val.

    Raises DataError if a collage is larger than half a photograph, and for numbers that cannot be.
    """
    if min(size, train_count, val_count) < 1 or seed < 0:
        raise DataError(
            'data.size, data.train_count and data.val_count are at least 1, and data.seed at least 0; found '
            f'{size}, {train_count}, {val_count} and {seed}'
        )
    if size > 256 * scale:
        raise DataError(
            f'a collage of {size} pixels does not fit into half a photograph, {round(256 * scale)} pixels wide at scale '
            f'{scale}; lower --config.data.size or raise --config.data.scale'
        )
    options = {'size': size, 'scale': scale, 'count': {'train': train_count, 'val': val_count}, 'seed': seed}
    classes = tuple(map(Class, PHOTOGRAPHS, colours(len(PHOTOGRAPHS))))
    return Textures(config=TexturesConfig(name=config_name('textures', **options), classes=classes, **options), data_dir=data_dir)


def photograph(name: str, scale: float) -> UInt8[np.ndarray, 'height width']:
    """A grey photograph, rescaled and equalised: each of its 256 values is taken by equally many pixels."""
    image = getattr(skimage.data, name)().astype(np.float64)
    image = skimage.transform.rescale(image, scale, anti_aliasing=True)
    order = np.argsort(np.argsort(image, axis=None, kind='stable'), kind='stable')
    return (order * 256 // image.size).astype(np.uint8).reshape(image.shape)


def collage(
    photographs: list[UInt8[np.ndarray, '...']], size: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, 'size size'], UInt8[np.ndarray, 'size size']]:
    """A mosaic of regions around random points, each of a texture cut and turned at random, and the texture of each pixel."""
    points = rng.uniform(0, size, (_REGIONS, 2))
    # Every texture occurs, the others are drawn.
    textures = rng.permutation([*range(len(photographs)), *rng.integers(len(photographs), size=_REGIONS - len(photographs))])
    region = _nearest(points, size)
    label = textures[region].astype(np.uint8)
    grey = np.zeros((size, size), np.uint8)
    for index, texture in enumerate(textures):
        here = region == index
        grey[here] = _cut(photographs[texture], size, rng)[here]
    return grey, label


def _nearest(points: Float[np.ndarray, 'regions 2'], size: int) -> np.ndarray:
    grid = np.stack(np.mgrid[:size, :size], axis=-1)
    return np.argmin(((grid[:, :, None] - points) ** 2).sum(-1), axis=-1)


def _cut(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    row, column = (rng.integers(length - size + 1) for length in image.shape)
    cut = image[row : row + size, column : column + size]
    return cut[:, ::-1] if rng.integers(2) else cut


def _half(image: np.ndarray, split: str) -> np.ndarray:
    middle = image.shape[1] // 2
    return image[:, :middle] if split == 'train' else image[:, middle:]
