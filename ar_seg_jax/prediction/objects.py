"""The objects that a network finds in an image, and how it makes the image of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from ar_seg_jax.interfaces import Outputs


class Objects(NamedTuple):
    """What is found in an image, or in each of a batch, by slots: object k is that of slot k, which may have none.

    labels: the number of the object at each pixel, 0 for the background. The rest is at the size that the network sees: the
    `image`, its `reconstruction` and its `background`; the glimpse of each slot, whose last channel is its mask, and the place
    that it has, as `interfaces.Outputs` has them; the attention of each slot, which sums to 1.
    """

    labels: UInt8[np.ndarray, '*batch height width']
    image: UInt8[np.ndarray, '*batch rows columns channels']
    reconstruction: UInt8[np.ndarray, '*batch rows columns channels']
    background: UInt8[np.ndarray, '*batch rows columns channels']
    glimpses: UInt8[np.ndarray, '*batch slots glimpse_height glimpse_width channels_and_mask']
    places: Float32[np.ndarray, '*batch slots 4']
    attention: Float32[np.ndarray, '*batch slots map_height map_width']


def read(outputs: Outputs) -> dict[str, jax.Array]:
    """The fields of `Objects` but for the image, of one image with an axis before, as arrays of a compiled program."""
    logits = jnp.moveaxis(outputs['logits'].astype(jnp.float32), -1, 1)
    pictures = {name: _levels(outputs[name]) for name in ('reconstruction', 'background', 'glimpses')}
    return {
        'labels': outputs['scores'].argmax(-1).astype(jnp.uint8),
        **pictures,
        'places': outputs['places'].astype(jnp.float32),
        'attention': jax.nn.softmax(logits, axis=(-2, -1)),
    }


def _levels(picture: jax.Array) -> jax.Array:
    return jnp.round(255 * picture).astype(jnp.uint8)
