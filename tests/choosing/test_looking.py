"""What is looked at, with a method whose scores are known."""

import dataclasses

import numpy as np
import pytest

from ar_seg_jax.choosing import looking
from ar_seg_jax.choosing.looking import Shown
from ar_seg_jax.errors import UserError
from tests.support import channels

RNG = np.random.default_rng(0)


def test_clusters_of_changed_images_lie_where_the_image_does_and_features_belong_to_their_clusters():
    images = [RNG.integers(0, 256, size, dtype=np.uint8) for size in ((20, 31, 3), (17, 24, 3))]
    counted = [RNG.random(image.shape[:2]) < 0.5 for image in images]
    found = looking.look(channels.ByChannel(), channels.state(), list(map(Shown, images, counted)))
    for number, image in enumerate(images):
        np.testing.assert_array_equal(found.clusters[number], image.argmax(-1))
        np.testing.assert_array_equal(found.mirrored[number], image.argmax(-1))  # each pixel for itself
        pale = np.round(127.5 + 0.8 * (image - np.float32(127.5)))
        np.testing.assert_array_equal(found.low_contrast[number], pale.argmax(-1))
        np.testing.assert_array_equal(found.counted[number], counted[number])
    # It has no features, so that its scores stand for them.
    np.testing.assert_array_equal(found.features.argmax(-1), found.places)
    shown = np.concatenate([channels.scores(image)[seen] for image, seen in zip(images, counted, strict=True)])
    assert all(np.isclose(shown, one, atol=1e-5).all(-1).any() for one in found.features)
    assert looking.PLACES / 3 < len(found.places) < looking.PLACES * 2 / 3


def test_a_method_without_clusters_is_refused():
    method = dataclasses.replace(channels.ByChannel())
    object.__setattr__(method, 'num_clusters', 0)
    with pytest.raises(UserError, match='By channel predicts no clusters, so there is nothing to choose by'):
        looking.look(method, channels.state(), [])
