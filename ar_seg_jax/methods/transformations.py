"""What the second view of AC and ARL may be changed by, and its undoing."""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ar_seg_jax import parallel
from ar_seg_jax.augmentations import colours, geometry
from ar_seg_jax.augmentations.inputs import Images
from ar_seg_jax.errors import UserError

Kind = Literal['none', 'jitter', 'flip', 'turn', 'all']

_STRENGTH = 0.1  # 'up to 10 %'
_GROUPS = {'flip': geometry.FLIPS, 'turn': geometry.TURNS, 'all': geometry.SYMMETRIES}


class Transformation(NamedTuple):
    """What happens to each image of a batch.

    element: index into the flips and turns of its kind. colours: changes of brightness, contrast, saturation and hue.
    """

    element: Int[Array, '*batch']
    colours: Float[Array, '*batch 4']


def check(kind: str):
    """UserError unless `kind` is known."""
    if kind not in get_args(Kind):
        raise UserError(f'method.transformations is one of {", ".join(get_args(Kind))}; found {kind!r}')


def moves_pixels(kind: Kind) -> bool:
    """Whether maps of transformed images have to be turned back."""
    return kind in _GROUPS


def turns(kind: Kind) -> bool:
    """Whether heights may become widths."""
    return kind in ('turn', 'all')


def draw(key: Key[Array, ''], kind: Kind, batch_size: int) -> Transformation:
    """A transformation for each image (IIC's g; supplement, section 2): 'flip' is left to right or not, 'turn' one of four
    quarter turns, 'all' any of the eight symmetries of the square and colour jitter, each uniformly."""

    def of_image(key: Key[Array, '']) -> Transformation:
        element_key, colour_key = jax.random.split(key)
        element = geometry.draw(element_key, _GROUPS[kind]) if kind in _GROUPS else jnp.int32(0)
        return Transformation(element, jax.random.uniform(colour_key, (4,), minval=-_STRENGTH, maxval=_STRENGTH))

    return jax.vmap(of_image)(parallel.keys(key, batch_size))


def apply(image: Images, kind: Kind, transformation: Transformation) -> Images:
    """Transforms images in [0, 1]; a fourth channel, such as infrared, is turned but keeps its values."""
    if kind in ('jitter', 'all'):
        image = colours.jitter(image, transformation.colours)
    return geometry.turn(image, _GROUPS[kind], transformation.element) if kind in _GROUPS else image


def undo(maps: Float[Array, 'batch rows columns depth'], kind: Kind, transformation: Transformation):
    """Turns what was computed from transformed images back."""
    return geometry.turn_back(maps, _GROUPS[kind], transformation.element) if kind in _GROUPS else maps
