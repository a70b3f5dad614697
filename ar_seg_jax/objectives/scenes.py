"""Losses of a scene that is explained by a background and objects: sums over the pixels of each image that count."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Images = Float[Array, 'batch height width 3']
Counted = Bool[Array, 'batch height width']

_BETA = 3.0  # where the loss of the background goes from squared to absolute differences, of images in 0 ... 255
_STRICTNESS = 6.0  # how much less pixels count that are not explained
_TOLERANCE = 0.25  # error, from 0 to 3, from which on they are not
_WINDOW_OF = 75  # pixels of an image for each two of the window over which errors are averaged
_SMALLEST = 1e-20  # added to weights in their logarithm, as in the released code


class Means(NamedTuple):
    """Of each image: the sum over its pixels that count, and how many they are."""

    sums: Float[Array, 'batch']
    counts: Float[Array, 'batch']

    def mean(self) -> Float[Array, '']:
        """Over all pixels that count; 0 where none does."""
        return self.sums.sum() / jnp.maximum(self.counts.sum(), 1)


def background(image: Images, predicted: Float[Array, 'batch height width 4'], counted: Counted) -> Means:
    """The loss of AE-NE, of images in 0 ... 255 and what `models.background` gives for them.

    With e the sum over colours of smooth_l1 at 3, over 255, of each pixel (0 ... 3), and n = smooth_l1 at 3/255 of the predicted
    error against e / 3, it is the mean of exp(-6 mean of tanh(4 e)) (e + n); the inner mean is over a window of
    2 * (width // 75) + 1 pixels, at borders over those inside. Neither the weight nor the target of n is differentiated: else
    being far off would be the minimum.
    """
    error = jnp.sum(smooth_l1(image - predicted[..., :3], _BETA), axis=-1) / 255
    noise = smooth_l1(predicted[..., 3] / 255 - jax.lax.stop_gradient(error) / 3, _BETA / 255)
    window = 2 * (image.shape[2] // _WINDOW_OF) + 1
    weight = jnp.exp(-_STRICTNESS * _average(jnp.tanh(error / _TOLERANCE), window))
    return _means(jax.lax.stop_gradient(weight) * (error + noise), counted)


def reconstruction(image: Images, found: Images, counted: Counted) -> Means:
    """(sum over colours of |found - image|)^2, of images in [0, 1]."""
    return _means(jnp.sum(jnp.abs(found - image), axis=-1) ** 2, counted)


def entropy(weights: Float[Array, 'batch layers height width'], counted: Counted) -> Means:
    """The square of the entropy of the weights in each pixel, in nats^2."""
    return _means(jnp.sum(weights * jnp.log(weights + _SMALLEST), axis=1) ** 2, counted)


def smooth_l1(difference: Float[Array, '*shape'], beta: float) -> Float[Array, '*shape']:
    """d^2 / (2 beta) below beta, |d| - beta / 2 above."""
    distance = jnp.abs(difference)
    return jnp.where(distance < beta, difference**2 / (2 * beta), distance - beta / 2)


def _average(maps: Float[Array, 'batch height width'], window: int) -> Float[Array, 'batch height width']:
    """Over the window around each pixel, or what of it is inside."""

    def summed(maps):
        return jax.lax.reduce_window(maps, 0.0, jax.lax.add, (1, window, window), (1, 1, 1), 'SAME')

    return maps if window == 1 else summed(maps) / summed(jnp.ones_like(maps[:1]))


def _means(losses: Float[Array, 'batch height width'], counted: Counted) -> Means:
    return Means(jnp.sum(losses * counted, (1, 2)), jnp.sum(counted, (1, 2)).astype(jnp.float32))
