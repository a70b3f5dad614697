"""What is kept of an image, recomputed from the scores in plain loops."""

import numpy as np
import pytest

from ar_seg_jax.data.builder import NODATA
from ar_seg_jax.reporting.sight import Sight, window
from tests.support import channels


def test_what_is_kept_of_an_image_is_what_its_scores_say():
    image = np.random.default_rng(0).integers(0, 256, (26, 40, 3)).astype(np.uint8)
    examples = [channels.encoded(one, one[..., 0], name) for one, name in ((np.zeros_like(image), 'a'), (image, 'b'))]
    (seen,) = Sight(channels.ByChannel(), channels.state()).look(examples, [1])
    scores, clusters = channels.scores(image), image.argmax(-1)
    np.testing.assert_array_equal(seen.clusters, clusters)
    assert seen.certainty == pytest.approx(scores.max(-1).mean(), rel=1e-5)
    assert (seen.index, seen.identifier, seen.side, seen.windows.shape) == (1, 'b', 8, (3, 5, 3))
    for row, column, cluster in np.ndindex(3, 5, 3):
        part = scores[8 * row : 8 * row + 8, 8 * column : 8 * column + 8, cluster]
        assert seen.windows[row, column, cluster] == pytest.approx(part.mean(), rel=1e-5)
    for cluster in range(3):
        assert seen.counts[cluster].sum() == (clusters == cluster).sum()
        np.testing.assert_array_equal(seen.colours[cluster], image[clusters == cluster].sum(0))


def test_pixels_without_data_are_in_nothing_that_is_kept():
    image = np.random.default_rng(1).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    without = np.zeros((24, 24), bool)
    without[8:16, 8:] = True
    label = np.where(without, NODATA, 0).astype(np.uint8)
    (seen,) = Sight(channels.ByChannel(), channels.state()).look([channels.encoded(image, label, 'a') | {'nodata': True}], [0])
    scores, clusters = channels.scores(image), image.argmax(-1)
    np.testing.assert_array_equal(seen.counted, ~without)
    assert seen.certainty == pytest.approx(scores.max(-1)[~without].mean(), rel=1e-5)
    assert (seen.windows[1, 1:] == 0).all() and (seen.windows[[0, 2]].sum(-1) > 0.99).all()
    for cluster in range(3):
        own = (clusters == cluster) & ~without
        assert seen.counts[cluster].sum() == own.sum()
        np.testing.assert_array_equal(seen.colours[cluster], image[own].sum(0))


@pytest.mark.parametrize(('size', 'side'), [((128, 128), 42), ((90, 400), 30), ((480, 640), 64), ((20, 20), 8), ((5, 9), 5)])
def test_windows_are_a_third_of_the_shorter_side_within_limits(size, side):
    assert window(*size) == side
