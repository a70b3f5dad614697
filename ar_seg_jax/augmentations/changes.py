"""A changed copy of images: other colours, mirrored, warped; and what follows it or is brought back."""

import dataclasses
from typing import NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Key

from ar_seg_jax import parallel
from ar_seg_jax.augmentations import geometry
from ar_seg_jax.augmentations.colours import Jitter
from ar_seg_jax.augmentations.geometry import Affine, Maps, Masks
from ar_seg_jax.augmentations.inputs import Images
from ar_seg_jax.errors import UserError


class Move(NamedTuple):
    """Where a change moved the pixels of each image: a flip, then an affine map if there are matrices."""

    flipped: Bool[Array, 'batch']
    matrices: Float[Array, 'batch 2 2'] | None

    def apply(self, maps: Maps | Masks) -> Maps | Masks:
        """Maps, moved as the images were; 0 where the image before shows nothing. No masks are warped."""
        maps = geometry.flip(maps, self.flipped)
        return maps if self.matrices is None else geometry.warp(maps, self.matrices)

    def undo(self, maps: Maps) -> Maps:
        """Maps of moved images where things were before; 0 where the moved image does not show a place."""
        if self.matrices is not None:
            maps = geometry.warp_back(maps, self.matrices)
        return geometry.flip(maps, self.flipped)


@dataclasses.dataclass(frozen=True)
class Change:
    """Colours first, then perhaps left and right, then perhaps an affine map, as IIC changes images.

    jitter: of colours; in IIC its four parts follow one another in a random order for each image. flip: its probability, or
    UserError. affine: None in all published runs.
    """

    jitter: Jitter
    flip: float
    affine: Affine | None = None

    def __post_init__(self):
        if not 0 <= self.flip <= 1:
            raise UserError(f'method.flip is a probability, 0 to 1; found {self.flip}')

    def __call__(self, image: Images, key: Key[Array, '']) -> tuple[Images, Move]:
        """Changed images in [0, 1], and how they were moved."""
        jitter_keys, flip_keys, affine_keys = (parallel.keys(key, len(image)) for key in jax.random.split(key, 3))
        matrices = None if self.affine is None else self.affine.draw(affine_keys)
        move = Move(geometry.draw_flips(flip_keys, self.flip), matrices)
        return move.apply(self.jitter(jitter_keys, image)), move
