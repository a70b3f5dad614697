"""What happens to images on their way to a model: random changes that keep what they show, and their undoing; more channels."""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from ar_seg_jax import orderings
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Model

Kind = Literal['none', 'jitter', 'flip', 'turn', 'all']
Images = Float[Array, 'batch height width channels']

_STRENGTH = 0.1  # 'up to 10 %'

# Elements of the square's symmetry group, by the raster scan whose frame they turn an image into.
_FRAMES = {
    'flip': orderings.stack(('A1', 'B1')),
    'turn': orderings.stack(('A1', 'B4', 'D3', 'C2')),
    'all': orderings.stack(tuple(orderings.RASTER)),
}


class Transformation(NamedTuple):
    """What happens to each image of a batch.

    frame: index into the flips and turns of its kind. brightness, contrast, saturation: factors; hue: share of the circle.
    """

    frame: Int[Array, 'batch']
    brightness: Float[Array, 'batch']
    contrast: Float[Array, 'batch']
    saturation: Float[Array, 'batch']
    hue: Float[Array, 'batch']


def check(kind: str):
    """UserError unless `kind` is known."""
    if kind not in get_args(Kind):
        raise UserError(f'method.transformations is one of {", ".join(get_args(Kind))}; found {kind!r}')


def moves_pixels(kind: Kind) -> bool:
    """Whether maps of transformed images have to be turned back."""
    return kind in _FRAMES


def to_unit(image: UInt8[Array, 'batch height width channels']) -> Images:
    """Images of 8 bits in [0, 1]."""
    return image.astype(jnp.float32) / 255


def model_input(model: Model, image: UInt8[Array, 'batch height width channels']) -> Images:
    """Images of 8 bits as a model was made to see them: in [0, 1], then normalised as it says."""
    return model.normalisation.apply(to_unit(image))


def draw(key: Key[Array, ''], kind: Kind, batch_size: int) -> Transformation:
    """A transformation for each image (IIC's g; supplement, section 2): 'flip' is left to right or not, 'turn' one of four
    quarter turns, 'all' any of the eight symmetries of the square and colour jitter, each uniformly."""
    keys = jax.random.split(key, 5)
    count = len(_FRAMES[kind].transpose) if kind in _FRAMES else 1
    frame = jax.random.randint(keys[0], (batch_size,), 0, count)
    factors = (jax.random.uniform(key, (batch_size,), minval=1 - _STRENGTH, maxval=1 + _STRENGTH) for key in keys[1:4])
    return Transformation(frame, *factors, jax.random.uniform(keys[4], (batch_size,), minval=-_STRENGTH, maxval=_STRENGTH))


def apply(image: Images, kind: Kind, transformation: Transformation) -> Images:
    """Transforms images in [0, 1]; a fourth channel, such as infrared, is turned but keeps its values."""
    if kind in ('jitter', 'all'):
        colours = jax.vmap(_jitter)(image[..., :3], *transformation[1:])
        image = jnp.concatenate([colours, image[..., 3:]], axis=-1)
    return _geometric(orderings.into_frame, image, kind, transformation)


def undo(maps: Float[Array, 'batch rows columns depth'], kind: Kind, transformation: Transformation):
    """Turns what was computed from transformed images back: a permutation of pixels, so exact."""
    return _geometric(orderings.out_of_frame, maps, kind, transformation)


def _geometric(turn, maps, kind: Kind, transformation: Transformation):
    if kind not in _FRAMES:
        return maps
    return jax.vmap(lambda one, frame: turn(one, orderings.choose(_FRAMES[kind], frame), rows=0))(maps, transformation.frame)


def _jitter(image, brightness, contrast, saturation, hue):
    """The four in a fixed order; the result is cut to [0, 1]."""
    # Imported here: it brings modules for tests that try out a temporary directory, and prediction must not write there.
    import dm_pix

    image = dm_pix.adjust_contrast(image * brightness, contrast)
    image = dm_pix.adjust_saturation(jnp.clip(image, 0, 1), saturation)
    return jnp.clip(dm_pix.adjust_hue(image, hue), 0, 1)


def append_sobel(image: Images) -> Float[Array, 'batch height width inputs']:
    """Images in [0, 1] with two more channels: the Sobel gradients of the grey image along columns and rows.

    Grey is the mean of R, G, B weighted by ITU-R 601-2; the gradients are those of a 3x3 Sobel kernel with weights
    1, 2, 1, zero padded (IIC's input on COCO-Stuff).
    """
    grey = image[..., :3] @ jnp.array([0.299, 0.587, 0.114], image.dtype)
    padded = jnp.pad(grey, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    gradients = (rows[:, :, 2:] - rows[:, :, :-2], columns[:, 2:] - columns[:, :-2])
    return jnp.concatenate([image, *(gradient[..., None] for gradient in gradients)], axis=-1)
