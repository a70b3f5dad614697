"""What happens to the second view, and that it is undone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.errors import UserError
from ar_seg_jax.methods import transformations


def _images(count=24, side=6, channels=4):
    return jnp.asarray(np.random.default_rng(0).uniform(0.2, 0.7, (count, side, side, channels)), jnp.float32)


def _group(kind, image):
    """The images that a kind of transformation may make of one."""
    turned = [np.rot90(image, quarters) for quarters in range(4)]
    return {'none': [image], 'jitter': [image], 'flip': [image, image[:, ::-1]], 'turn': turned}.get(
        kind, [*turned, *(one[:, ::-1] for one in turned)]
    )


@pytest.mark.parametrize('kind', ['none', 'jitter', 'flip', 'turn', 'all'])
def test_every_element_of_the_group_is_drawn_and_undone(kind):
    images = _images()
    drawn = transformations.draw(jax.random.key(0), kind, len(images))
    geometric = transformations.apply(images, kind, drawn)[..., 3]  # the fourth channel is not jittered
    seen = set()
    for image, found in zip(np.asarray(images[..., 3]), np.asarray(geometric), strict=True):
        (place,) = [index for index, one in enumerate(_group(kind, image)) if np.array_equal(one, found)]
        seen.add(place)
    assert len(seen) == len(_group(kind, np.zeros((6, 6))))
    np.testing.assert_array_equal(transformations.undo(geometric[..., None], kind, drawn)[..., 0], images[..., 3])


def test_drawn_changes_are_within_ten_percent_and_differ_between_images():
    drawn = np.asarray(transformations.draw(jax.random.key(3), 'all', 500).colours)
    assert (drawn.min(axis=0) < -0.095).all() and (drawn.max(axis=0) > 0.095).all() and np.abs(drawn).max() <= 0.1


@pytest.mark.parametrize('kind', ['none', 'flip', 'turn'])
def test_colours_change_only_where_they_should(kind):
    images = _images()
    drawn = transformations.draw(jax.random.key(0), kind, len(images))
    undone = transformations.undo(transformations.apply(images, kind, drawn), kind, drawn)
    np.testing.assert_array_equal(undone, images)
    jittered = transformations.apply(images, 'jitter', drawn)
    assert float(jnp.abs(jittered[..., :3] - images[..., :3]).max()) > 0.01


def test_an_unknown_kind_is_explained():
    with pytest.raises(UserError, match=r"method\.transformations is one of none, jitter, flip, turn, all; found 'blur'"):
        transformations.check('blur')
