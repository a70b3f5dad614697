"""What a network sees in single images: clusters, how sure it is of them, and where each of them is likeliest."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from ar_seg_jax import sharding
from ar_seg_jax.data import pipeline
from ar_seg_jax.evaluation import shapes
from ar_seg_jax.interfaces import Method, ModelState

_SMALLEST, _LARGEST = 8, 64  # pixels of a side of a window

Image = UInt8[np.ndarray, 'height width channels']


@dataclasses.dataclass(frozen=True)
class Seen:
    """What is kept of an image, the number `index` of its split.

    counted: which pixels have data; only they are in what follows. certainty: mean over pixels of the largest score, 0 to 1.
    counts: see `shapes.counts`. colours: sums over the pixels of each cluster, levels of 255. side: of windows, pixels. windows:
    mean scores of clusters in each of the windows that the image is divided into, 0 where there is no data; what remains at its
    right and lower borders is left out.
    """

    index: int
    identifier: str
    clusters: UInt8[np.ndarray, 'height width']
    counted: Bool[np.ndarray, 'height width']
    certainty: float
    counts: shapes.Counts
    colours: Float[np.ndarray, 'clusters 3']
    side: int
    windows: Float[np.ndarray, 'rows columns clusters']


class Sight:
    """A network that predicts scores, on this process alone. Every size of images is compiled first."""

    def __init__(self, method: Method, state: ModelState):
        self._method, self._state = method, sharding.local(state)

    def look(self, examples: Sequence[pipeline.Example], indices: Sequence[int]) -> Iterator[Seen]:
        """At these examples, one after another."""
        return (self._seen(index, pipeline.decode(examples[index])) for index in indices)

    def _seen(self, index: int, example: pipeline.Example) -> Seen:
        image, side = example['image'], window(*example['image'].shape[:2])
        counted = pipeline.covered(example)
        found = self._predict(self._state.params, self._state.extra, image, counted, side=side)
        clusters, certainty, counts, windows = jax.tree.map(np.asarray, found)
        colours = _sums(clusters[counted], image[counted][:, :3], self._method.num_clusters)
        return Seen(index, example['id'], clusters, counted, float(certainty), counts, colours, side, windows)

    @functools.cached_property
    def _predict(self):
        method = self._method

        @functools.partial(jax.jit, static_argnames='side')
        def predict(params, extra, image: UInt8[Array, 'height width channels'], counted: Bool[Array, 'height width'], side: int):
            scores = method.predict(params, extra, image[None])['scores'][0].astype(jnp.float32)
            clusters = jnp.argmax(scores, axis=-1)
            counts = shapes.counts(clusters[None], counted[None], method.num_clusters)
            windows = _means(jnp.where(counted[..., None], scores, 0), side)
            certainty = jnp.where(counted, scores.max(-1), 0).sum() / jnp.maximum(counted.sum(), 1)
            return clusters.astype(jnp.uint8), certainty, counts, windows

        return predict


def window(height: int, width: int) -> int:
    """The side of the windows of an image: a third of its shorter side, within limits, and no more than there is."""
    shorter = min(height, width)
    return min(max(shorter // 3, _SMALLEST), _LARGEST, shorter)


def _means(scores: Float[Array, 'height width clusters'], side: int) -> Float[Array, 'rows columns clusters']:
    rows, columns = (length // side for length in scores.shape[:2])
    whole = scores[: rows * side, : columns * side]
    return whole.reshape(rows, side, columns, side, scores.shape[-1]).mean((1, 3))


def _sums(
    clusters: UInt8[np.ndarray, 'pixels'], colours: UInt8[np.ndarray, 'pixels 3'], count: int
) -> Float[np.ndarray, '{count} 3']:
    return np.stack([np.bincount(clusters, weights=level, minlength=count) for level in colours.T], axis=-1)
