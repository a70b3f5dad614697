"""Random changes of colours. All take images in [0, 1] and a key for each; channels after R, G, B keep their values."""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ar_seg_jax.augmentations.inputs import GREY, Images
from ar_seg_jax.errors import UserError

Keys = Key[Array, 'batch']
Colours = Float[Array, 'height width 3']
Order = Literal['fixed', 'random']


@dataclasses.dataclass(frozen=True)
class Jitter:
    """Colour jitter, defined as torchvision's.

    brightness, contrast, saturation: factors are drawn uniformly from max(0, 1 - b) to 1 + b; at least 0.
    hue: a turn is drawn from -h to h, a share of the circle; 0 to 0.5.
    probability: of each of the four by itself.
    order: in which they follow one another, this one or a 'random' one for each image.

    Raises UserError for strengths out of their ranges, which are options of methods by the same names.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    probability: float = 1.0
    order: Order = 'fixed'

    def __post_init__(self):
        for name in ('brightness', 'contrast', 'saturation'):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f'method.{name} is a number of at least 0, found {getattr(self, name)}')
        if not 0 <= self.hue <= 0.5:
            raise UserError(f'method.hue is a share of the circle, 0 to 0.5; found {self.hue}')

    def __call__(self, keys: Keys, image: Images) -> Images:
        changes, orders = jax.vmap(self._drawn)(keys)
        return jitter(image, changes, orders if self.order == 'random' else None)

    def _drawn(self, key):
        size_key, chance_key, order_key = jax.random.split(key, 3)
        strengths = jnp.array([self.brightness, self.contrast, self.saturation, self.hue])
        changes = jax.random.uniform(size_key, (4,), minval=-jnp.minimum(strengths, 1), maxval=strengths)
        happens = jax.random.bernoulli(chance_key, self.probability, (4,))
        return jnp.where(happens, changes, 0), jax.random.permutation(order_key, 4)


def jitter(image: Images, changes: Float[Array, 'batch 4'], orders: Int[Array, 'batch 4'] | None = None) -> Images:
    """Changes brightness, contrast, saturation and hue by this much, 0 for not at all, in this order (of numbers from 0 to 3)."""

    def one(image, changes, order):
        if order is None:
            for operation, change in zip(_OPERATIONS, changes, strict=True):
                image = operation(image, change)
            return image
        return jax.lax.fori_loop(0, 4, lambda i, image: jax.lax.switch(order[i], _OPERATIONS, image, changes[order[i]]), image)

    return _coloured(jax.vmap(one, (0, 0, None if orders is None else 0)), image, changes, orders)


def to_grey(keys: Keys, image: Images, probability: float) -> Images:
    """Each image without colours, all three channels its grey, with this probability."""
    return jnp.where(_happens(keys, probability), _coloured(jax.vmap(_saturated), image, jnp.full(len(image), -1.0)), image)


def blur(keys: Keys, image: Images, probability: float, smallest: float, largest: float) -> Images:
    """Gaussian blur of each image, with this probability, with a standard deviation from `smallest` to `largest` pixels.

    Weights are renormalised at the edges, beyond which nothing is seen.
    """
    sigma = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1), minval=smallest, maxval=largest))(keys)

    def smoothed(image):
        rows, columns = (_gaussians(sigma, length) for length in image.shape[1:3])
        return jnp.einsum('bij,bkl,bjlc->bikc', rows, columns, image, precision='highest')

    return jnp.where(_happens(keys, probability), _coloured(smoothed, image), image)


def drop(keys: Keys, image: Images, mean: Float[Array, '3'], deviation: Float[Array, '3']) -> Images:
    """One of the channels R, G, B of each image is left; the other two become noise.

    The noise is normal, with the mean and a hundredth of the standard deviation of the channel that is left, which are those of
    the data set (Doersch et al. 2015, against the shortcut that lies in the colours of lenses).
    """

    def one(key, image):
        choice_key, noise_key = jax.random.split(key)
        kept = jax.random.randint(choice_key, (), 0, 3)
        noise = mean[kept] + deviation[kept] / 100 * jax.random.normal(noise_key, image.shape)
        return jnp.where(jnp.arange(3)[None, None] == kept, image, noise)

    return _coloured(lambda image: jax.vmap(one)(keys, image), image)


def _coloured(change, image: Images, *arguments) -> Images:
    return jnp.concatenate([change(image[..., :3], *arguments), image[..., 3:]], axis=-1)


def _happens(keys: Keys, probability: float) -> Bool[Array, 'batch 1 1 1']:
    return jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)[:, None, None, None]


def _gaussians(sigma: Float[Array, 'batch'], length: int) -> Float[Array, 'batch length length']:
    """The shares of all pixels of a line in each."""
    squares = jnp.square(jnp.arange(length)[:, None] - jnp.arange(length)[None]).astype(jnp.float32)
    return jax.nn.softmax(-squares[None] / (2 * jnp.square(sigma)[:, None, None]), axis=-1)


def _grey(image: Colours) -> Float[Array, 'height width 1']:
    return (image @ jnp.array(GREY))[..., None]


def _bright(image: Colours, change) -> Colours:
    return jnp.clip(jnp.maximum(1 + change, 0) * image, 0, 1)


def _contrasted(image: Colours, change) -> Colours:
    return _blended(image, _grey(image).mean(keepdims=True), change)


def _saturated(image: Colours, change) -> Colours:
    return _blended(image, _grey(image), change)


def _blended(image: Colours, other, change) -> Colours:
    return jnp.clip(other + jnp.maximum(1 + change, 0) * (image - other), 0, 1)


def _turned(image: Colours, change) -> Colours:
    # Imported here: it brings modules for tests that try out a temporary directory, and prediction must not write there.
    import dm_pix

    return jnp.clip(dm_pix.adjust_hue(image, change), 0, 1)


_OPERATIONS = (_bright, _contrasted, _saturated, _turned)
