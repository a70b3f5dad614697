"""What a config says arrives where it belongs."""

import numpy as np
import pytest

from ar_seg_jax.interfaces import Cadence
from ar_seg_jax.runs import assembly
from configs import textures
from tests.support import feeds


def _config(**changes):
    return {**textures.get_config().to_dict(), **changes}


def _images(batch_size):
    """A function from the number of a batch to a batch of so many images."""
    image = np.zeros((batch_size, 2, 2, 3), np.uint8)
    return lambda index: {'image': image, 'label': image[..., 0]}


@pytest.mark.parametrize(
    ('images', 'batch_size', 'epochs', 'steps'),
    [(100, 60, 10.0, 17), (96, 8, 2.0, 24), (100, 80, 2.0, 3), (100, 80, 0.5, 1), (100, 80, 1e-3, 1)],
)
def test_a_training_of_epochs_has_all_their_steps(images, batch_size, epochs, steps):
    feed = feeds.Numbered(_images(batch_size), feeds.mesh_of(1), images)
    found = assembly.schedule(_config(steps=0, epochs=epochs), feed)
    assert found.steps == steps
    if epochs >= 1:
        assert sum(Cadence().due(step, feed.epochs) for step in range(steps)) == epochs
