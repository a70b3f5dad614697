"""What runs make of the same images, of which the labels are not looked at."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from ar_seg_jax import sharding
from ar_seg_jax.choosing.criteria import Look
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Method, ModelState

PLACES = 2000  # of all images together, whose features are compared
_CONTRAST = 0.8  # of images with less contrast: this share of the distance to a middle grey

Image = UInt8[np.ndarray, 'height width channels']


class Shown(NamedTuple):
    """An image, and which of its pixels have data."""

    image: Image
    counted: Bool[np.ndarray, 'height width']


def look(method: Method, state: ModelState, images: Sequence[Shown]) -> Look:
    """At images, one after another, on this process alone; every size of images is compiled first.

    Places are the same for every network whose features have the same resolution. UserError for a method without clusters.
    """
    if not method.num_clusters:
        raise UserError(f'{method.title} predicts no clusters, so there is nothing to choose by')
    predict = _predict(method, sharding.local(state))
    rng = np.random.default_rng(0)
    maps, drawn = [], []
    for image, counted in images:
        clusters, features = predict(image)
        maps.append(clusters)
        drawn.append(_drawn(rng, counted, clusters, features, -(-PLACES // len(images))))
    return Look(
        [counted for _, counted in images],
        maps,
        [predict(np.ascontiguousarray(image[:, ::-1]))[0][:, ::-1] for image, _ in images],
        [predict(_with_low_contrast(image))[0] for image, _ in images],
        *(np.concatenate(parts) for parts in zip(*drawn, strict=True)),
    )


def _predict(method: Method, state: ModelState) -> Callable[[Image], tuple[np.ndarray, np.ndarray]]:
    """From an image to its clusters and its map of features, or its scores where a method has no features."""

    @jax.jit
    def compiled(params, extra, image: UInt8[Array, 'height width channels']):
        found = method.predict(params, extra, image[None])
        features = found.get('features', found['scores'])[0]
        return found['scores'][0].argmax(-1).astype(jnp.uint8), features.astype(jnp.float32)

    bound = functools.partial(compiled, state.params, state.extra)
    return lambda image: jax.tree.map(np.asarray, bound(image))


def _drawn(
    rng: np.random.Generator,
    counted: Bool[np.ndarray, 'height width'],
    clusters: UInt8[np.ndarray, 'height width'],
    features: Float[np.ndarray, 'map_height map_width depth'],
    count: int,
) -> tuple[Float[np.ndarray, 'places depth'], UInt8[np.ndarray, 'places']]:
    """Features of random cells, and the clusters of the pixels in their middle, where these have data."""
    rows, columns = (rng.random((count, 2)) * features.shape[:2]).astype(int).T
    middles = tuple(
        ((index + 0.5) * pixels / cells).astype(int)
        for index, pixels, cells in zip((rows, columns), clusters.shape, features.shape[:2], strict=True)
    )
    there = counted[middles]
    return features[rows, columns][there], clusters[middles][there]


def _with_low_contrast(image: Image) -> Image:
    middle = np.float32(127.5)
    return np.round(middle + _CONTRAST * (image - middle)).astype(np.uint8)
