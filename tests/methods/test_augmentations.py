"""What happens to images between views, and that it is undone; the gradients that are appended to them."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ar_seg_jax.errors import UserError
from ar_seg_jax.methods import augmentations
from ar_seg_jax.methods.augmentations import Transformation
from tests.support import tiny


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
    drawn = augmentations.draw(jax.random.key(0), kind, len(images))
    geometric = augmentations.apply(images, kind, drawn)[..., 3]  # the fourth channel is not jittered
    seen = set()
    for image, found in zip(np.asarray(images[..., 3]), np.asarray(geometric), strict=True):
        (place,) = [index for index, one in enumerate(_group(kind, image)) if np.array_equal(one, found)]
        seen.add(place)
    assert len(seen) == len(_group(kind, np.zeros((6, 6))))
    np.testing.assert_array_equal(augmentations.undo(geometric[..., None], kind, drawn)[..., 0], images[..., 3])


def _jittered(images, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0):
    factors = (jnp.full(len(images), value) for value in (brightness, contrast, saturation, hue))
    return augmentations.apply(images, 'jitter', Transformation(jnp.zeros(len(images), jnp.int32), *factors))


def test_jitter_without_strength_changes_nothing():
    np.testing.assert_allclose(_jittered(_images()), _images(), atol=1e-6)


def test_the_parts_of_jitter_do_what_their_names_say():
    images = _images(count=2)
    np.testing.assert_allclose(_jittered(images, brightness=1.1)[..., :3], 1.1 * images[..., :3], atol=1e-6)
    for change in ({'contrast': 0.9}, {'saturation': 0.9}, {'hue': 0.1}):
        found = _jittered(images, **change)
        assert float(jnp.abs(found[..., :3] - images[..., :3]).max()) > 0.005
        np.testing.assert_array_equal(found[..., 3], images[..., 3])
    calm = _jittered(images, contrast=0.9)[..., :3]
    np.testing.assert_allclose(calm.std(axis=(1, 2)), 0.9 * images[..., :3].std(axis=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize(
    ('change', 'component', 'expected'), [({'hue': 0.1}, 0, lambda h: (h + 0.1) % 1), ({'saturation': 0.9}, 1, lambda s: 0.9 * s)]
)
def test_hue_and_saturation_are_those_of_hsv(change, component, expected):
    image = _images(count=1)
    before, after = (np.asarray(each[0, :, :, :3]).reshape(-1, 3) for each in (image, _jittered(image, **change)))
    for one, other in zip(before, after, strict=True):
        wanted = list(colorsys.rgb_to_hsv(*one))
        wanted[component] = expected(wanted[component])
        np.testing.assert_allclose(other, colorsys.hsv_to_rgb(*wanted), atol=2e-5)


def test_drawn_strengths_are_within_ten_percent_and_differ_between_images():
    drawn = augmentations.draw(jax.random.key(3), 'all', 500)
    for factor in (drawn.brightness, drawn.contrast, drawn.saturation, 1 + drawn.hue):
        assert 0.9 <= float(factor.min()) < 0.905 and 1.095 < float(factor.max()) <= 1.1


def test_an_unknown_kind_is_explained():
    with pytest.raises(UserError, match=r"method\.transformations is one of none, jitter, flip, turn, all; found 'blur'"):
        augmentations.check('blur')


def test_a_model_sees_what_it_was_made_for():
    image, mean, deviation = jnp.arange(240, dtype=jnp.uint8).reshape(2, 5, 8, 3), (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    model = tiny.autoregressive(kind=tiny.normalising(mean, deviation))
    for number in range(3):
        expected = (image[..., number] / 255 - mean[number]) / deviation[number]
        np.testing.assert_allclose(augmentations.model_input(model, image)[..., number], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(augmentations.model_input(tiny.autoregressive(), image), image / 255, rtol=1e-6)


@pytest.mark.parametrize('channels', [3, 4])
def test_sobel_gradients_are_those_of_scipy(channels):
    image = np.random.default_rng(0).uniform(size=(2, 7, 9, channels)).astype(np.float32)
    found = augmentations.append_sobel(jnp.asarray(image))
    assert found.shape == (2, 7, 9, channels + 2)
    np.testing.assert_array_equal(found[..., :channels], image)
    grey = 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]
    for index, axis in ((-2, 2), (-1, 1)):
        # scipy smooths along every other axis, the batch included; one image at a time it is the 3x3 kernel.
        expected = np.stack([ndimage.sobel(one, axis=axis - 1, mode='constant') for one in grey])
        np.testing.assert_allclose(found[..., index], expected, rtol=1e-4, atol=1e-5)
