"""What is kept of an image, recomputed from the scores in plain loops."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax import sharding
from ar_seg_jax.data import images
from ar_seg_jax.interfaces import Method, ModelState, Outputs
from ar_seg_jax.reporting.sight import Sight, window


@dataclasses.dataclass(frozen=True)
class ByChannel(Method):
    """The clusters are the colours red, green and blue."""

    title, loss_in_words, num_clusters = 'By channel', 'nothing', 3

    def init(self, key, image):
        return {'sharpness': jnp.float32(3)}, {}

    def forward(self, params, extra, batch, *, key, time, part=0):
        raise NotImplementedError

    objective = forward

    def predict(self, params, extra, image):
        return Outputs(scores=jax.nn.softmax(params['sharpness'] * image / jnp.float32(255)))


def state():
    everywhere = sharding.replicated(sharding.make_mesh())
    return ModelState(*jax.device_put((jnp.int32(7), *ByChannel().init(None, None)), everywhere))


def encoded(image):
    return {
        'id': b'a',
        'image': images.encode_png(image),
        'label': images.encode_png(np.zeros(image.shape[:2], np.uint8)),
    }


def test_what_is_kept_of_an_image_is_what_its_scores_say():
    image = np.random.default_rng(0).integers(0, 256, (26, 40, 3)).astype(np.uint8)
    (seen,) = Sight(ByChannel(), state()).look([encoded(np.zeros_like(image)), encoded(image)], [1])
    exponentials = np.exp(3 * (image / 255))
    scores = exponentials / exponentials.sum(-1, keepdims=True)
    clusters = image.argmax(-1)
    np.testing.assert_array_equal(seen.clusters, clusters)
    assert seen.certainty == pytest.approx(scores.max(-1).mean(), rel=1e-5)
    assert (seen.index, seen.identifier, seen.side, seen.windows.shape) == (1, 'a', 8, (3, 5, 3))
    for row, column, cluster in np.ndindex(3, 5, 3):
        part = scores[8 * row : 8 * row + 8, 8 * column : 8 * column + 8, cluster]
        assert seen.windows[row, column, cluster] == pytest.approx(part.mean(), rel=1e-5)
    for cluster in range(3):
        assert seen.counts[cluster].sum() == (clusters == cluster).sum()
        np.testing.assert_array_equal(seen.colours[cluster], image[clusters == cluster].sum(0))


@pytest.mark.parametrize(('size', 'side'), [((128, 128), 42), ((90, 400), 30), ((480, 640), 64), ((20, 20), 8), ((5, 9), 5)])
def test_windows_are_a_third_of_the_shorter_side_within_limits(size, side):
    assert window(*size) == side
