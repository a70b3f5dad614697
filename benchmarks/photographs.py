"""Photographs to measure with: from a directory, or of the texture collages."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ar_seg_jax.data import images, textures
from ar_seg_jax.data.listing import find_images

Image = UInt8[np.ndarray, 'height width 3']


def sources(directory: Path | None, count: int = 36) -> list[Image]:
    """The first `count` images of a directory; without one, collages of 128 pixels."""
    if directory:
        return [images.read_image(path) for path in find_images(directory)[:count]]
    photographs = [textures.photograph(name, 0.5) for name in textures.PHOTOGRAPHS]
    collages = [textures.collage(photographs, 128, np.random.default_rng(index))[0] for index in range(count)]
    return [np.repeat(grey[..., None], 3, axis=2) for grey in collages]


def crops(pictures: list[Image], side: int, count: int) -> Iterator[Image]:
    """`count` squares of at most `side` pixels at random places."""
    rng = np.random.default_rng(0)
    for picture in itertools.islice(itertools.cycle(pictures), count):
        height, width = (min(side, length) for length in picture.shape[:2])
        row, column = rng.integers(picture.shape[0] - height + 1), rng.integers(picture.shape[1] - width + 1)
        yield picture[row : row + height, column : column + width]


def mosaic(pictures: list[Image], side: int) -> Image:
    """A square of `side` pixels, covered with the pictures, each cut to the size of the smallest."""
    height, width = (min(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    tiles = itertools.cycle(picture[:height, :width] for picture in pictures)
    rows = [np.concatenate([next(tiles) for _ in range(-(-side // width))], axis=1) for _ in range(-(-side // height))]
    return np.concatenate(rows)[:side, :side]
