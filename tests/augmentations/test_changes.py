"""A changed copy of images, and what is brought back from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.augmentations.changes import Change
from ar_seg_jax.augmentations.colours import Jitter
from ar_seg_jax.augmentations.geometry import Affine
from ar_seg_jax.errors import UserError

CALM = Jitter(0.0, 0.0, 0.0, 0.0, order='random')


def test_changes_are_undone_and_affine_ones_show_a_part():
    image = jnp.asarray(np.random.default_rng(0).uniform(0.2, 0.8, (6, 12, 12, 3)), jnp.float32)
    changed, move = Change(CALM, 0.5)(image, jax.random.key(0))
    np.testing.assert_allclose(move.undo(changed), image, atol=1e-6)
    flipped = [not np.allclose(one, other, atol=1e-3) for one, other in zip(changed, image, strict=True)]
    assert 0 < sum(flipped) < 6
    turned, move = Change(CALM, 0.5, Affine(45.0, 0.0, (1.0, 1.0)))(jnp.ones_like(image), jax.random.key(1))
    seen = np.asarray(move.undo(turned))
    np.testing.assert_allclose(seen[:, 5:7, 5:7], 1, atol=1e-4)
    assert seen[:, 0, 0].min() == 0
    smooth = jnp.broadcast_to(jnp.arange(12.0)[None, :, None, None], (6, 12, 12, 3)) / 12
    moved, move = Change(CALM, 1.0, Affine(20.0, 5.0, (0.9, 1.1)))(smooth, jax.random.key(2))
    np.testing.assert_allclose(move.undo(moved)[:, 4:8, 4:8], smooth[:, 4:8, 4:8], atol=0.01)


def test_what_follows_a_change_moves_as_the_images_do():
    smooth = jnp.asarray(np.random.default_rng(0).uniform(0.2, 0.8, (6, 8, 8, 3)), jnp.float32)
    for affine in (None, Affine(30.0, 0.0, (0.8, 1.2))):
        changed, move = Change(CALM, 0.5, affine)(smooth, jax.random.key(0))
        np.testing.assert_allclose(move.apply(smooth), changed, atol=1e-6)


@pytest.mark.parametrize('flip', [-0.1, 1.5])
def test_a_flip_that_is_no_probability_is_refused(flip):
    with pytest.raises(UserError, match=rf'^method\.flip is a probability, 0 to 1; found {flip}$'):
        Change(CALM, flip)
