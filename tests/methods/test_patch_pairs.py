"""Doersch's and Isola's tasks: losses by scipy, what is compared, what is changed in training and what is not."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from ar_seg_jax import build
from ar_seg_jax.augmentations import inputs
from ar_seg_jax.epochs import Cadence
from ar_seg_jax.errors import UserError
from ar_seg_jax.methods.patch_pairs import Told
from ar_seg_jax.training import gradients
from configs import doersch_coco3, isola_coco3
from tests.support import tiny

NAMES = ('doersch', 'isola')
CALM = {'brightness': 0.0, 'contrast': 0.0, 'saturation': 0.0, 'hue': 0.0}
PLAIN = {**CALM, 'flip': 0.0}


class Corners(nn.Module):
    """Instead of a comparator: the first feature at one corner of the first patch and at the opposite one of the second."""

    @nn.compact
    def __call__(self, first, second, *, train=False):
        scale = self.param('scale', nn.initializers.ones, ())
        return scale * jnp.stack([first[:, 0, 0, 0], second[:, -1, -1, 0]], axis=1)


def _state(method):
    return jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), tiny.random_batch()['image'])


def _forward(method, state, batch, seed=0, part=0):
    """What is told in a step."""
    key = jax.random.key(seed)
    run = jax.jit(
        lambda *state: method.forward(*state, batch, key=key, time=tiny.BEGINNING, part=part)[0], compiler_options=tiny.QUICK
    )
    return jax.tree.map(np.asarray, run(*state))


@pytest.mark.parametrize('name', NAMES)
def test_the_loss_is_the_mean_over_the_images_that_count(name):
    rng, method = np.random.default_rng(0), tiny.patch_pairs(name)
    outputs, counts = {'doersch': 9, 'isola': 1}[name], np.array([True, False, True, True, False, True])
    logits, label = rng.normal(size=(6, outputs)).astype(np.float32), rng.integers(0, max(outputs, 2), 6)
    if name == 'isola':
        probabilities = special.expit(np.where(label == 1, logits[:, 0], -logits[:, 0]))
        told = (logits[:, 0] > 0) == (label == 1)
    else:
        probabilities = special.softmax(logits, axis=1)[np.arange(6), label]
        told = logits.argmax(axis=1) == label
    told_arrays = Told(jnp.asarray(logits), jnp.asarray(label), jnp.asarray(counts))
    loss, metrics = method.objective(told_arrays, tiny.random_batch(6), time=tiny.BEGINNING)
    np.testing.assert_allclose(loss, -np.log(probabilities)[counts].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics['pairs_told'], told[counts].mean(), rtol=1e-6)
    nothing = method.objective(told_arrays._replace(counts=jnp.zeros(6, bool)), tiny.random_batch(6), time=tiny.BEGINNING)
    assert float(nothing[0]) == 0
    assert method.describe(metrics).words == f'{told[counts].mean():.1%} of pairs told, {method.chance:.1%} by chance'


def test_what_is_compared_are_patches_of_the_features_at_all_pixels_and_images_count_by_their_centres():
    method = dataclasses.replace(tiny.patch_pairs('isola', **PLAIN), comparator=Corners())
    state, batch = _state(method), tiny.random_batch()
    batch['mask'] = jnp.asarray(np.random.default_rng(0).random((8, 16, 16)) < 0.4)
    key = jax.random.key(0)
    told = _forward(method, state, batch)
    pairs = jax.tree.map(np.asarray, method.pairs(jax.random.fold_in(key, 1), 0, (8, 16, 16)))
    variables = {'params': state[0]['network'], 'batch_stats': state[1]['batch_stats']['network']}
    maps, _ = method.model.apply(variables, batch['image'] / jnp.float32(255), train=True, mutable=['batch_stats'])
    pixels = np.asarray(method.model.to_pixels(maps['features'], 16, 16))[..., 0]
    expected = [
        (image[tuple(first - 1)], image[tuple(second + 1)])
        for image, first, second in zip(pixels, pairs.first, pairs.second, strict=True)
    ]
    np.testing.assert_allclose(told.logits, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(told.label, pairs.label)
    mask = np.asarray(batch['mask'])
    expected = [
        one[tuple(first)] or one[tuple(second)] for one, first, second in zip(mask, pairs.first, pairs.second, strict=True)
    ]
    np.testing.assert_array_equal(told.counts, expected)
    assert 0 < told.counts.sum() < 8


@pytest.mark.parametrize('name', NAMES)
def test_a_pair_is_drawn_for_each_image_or_one_for_the_whole_batch(name):
    def pairs(method, part, seed=2):
        found = method.pairs(jax.random.key(seed), part, (8, 16, 16))
        return np.concatenate([found.first, found.second, found.label[:, None]], axis=1)

    by_image, by_batch = (tiny.patch_pairs(name, locations=locations) for locations in ('image', 'batch'))
    assert len(np.unique(pairs(by_image, 0), axis=0)) > 4
    assert (pairs(by_image, 0) != pairs(by_image, 1)).any()
    assert len(np.unique(pairs(by_batch, 0), axis=0)) == 1
    np.testing.assert_array_equal(pairs(by_batch, 0), pairs(by_batch, 1))
    assert (pairs(by_batch, 0) != pairs(by_batch, 0, seed=3)).any()


def test_masks_are_flipped_with_their_images():
    mask = jnp.asarray(np.random.default_rng(0).random((8, 6, 7)) < 0.5)
    image = jnp.repeat(mask[..., None].astype(jnp.float32), 3, axis=-1)
    changed, move = tiny.patch_pairs('isola', **CALM).change(image, jax.random.key(0))
    flipped = move.apply(mask[..., None])[..., 0]
    np.testing.assert_array_equal(changed[..., 0] > 0.5, flipped)
    same = np.asarray((flipped == mask).all(axis=(1, 2)))
    assert 0 < same.sum() < 8
    np.testing.assert_array_equal(flipped[~same], mask[~same][:, :, ::-1])


def test_colours_are_dropped_in_training_alone_and_gradients_are_those_of_the_image_before():
    method, batch = tiny.patch_pairs('doersch', sobel=True, **PLAIN), tiny.random_batch()
    params, extra = _state(method)
    told, image = {}, inputs.to_unit(batch['image'])
    for mean in (0.1, 0.9):
        known = {**extra, 'colours': {'mean': jnp.full(3, mean), 'deviation': jnp.full(3, 0.1)}}
        told[mean] = _forward(method, (params, known), batch).logits
        shown = np.asarray(method.shown(jax.random.key(0), known, image))
        kept = (shown == np.asarray(image)).all(axis=(1, 2))
        assert (kept.sum(axis=1) == 1).all() and abs(shown.transpose(0, 3, 1, 2)[~kept].mean() - mean) < 1e-3
        outputs = method.predict(params, known, batch['image'])
        np.testing.assert_array_equal(outputs['logits'], method.predict(params, extra, batch['image'])['logits'])
        seen = method._input(image, jnp.asarray(shown))
        np.testing.assert_array_equal(seen[..., :3], shown)
        np.testing.assert_array_equal(seen[..., 3:], inputs.append_sobel(image, image)[..., 3:])
    assert np.abs(told[0.1] - told[0.9]).max() > 1e-5
    without = tiny.patch_pairs('doersch', colour_dropping=False)
    assert without.shown(jax.random.key(0), {}, image) is image and without.refresh_when is None


def test_the_colours_of_noise_are_those_of_the_pixels_of_the_data_set_that_count():
    method = tiny.patch_pairs('doersch')
    params, extra = _state(method)
    first, second = tiny.with_void(tiny.random_batch(6), below=9), tiny.random_batch(2)
    second['image'] = second['image'] // 2
    assert method.refresh_when == Cadence(0)
    found = method.refresh(params, extra, iter([first, second]), key=jax.random.key(0), time=tiny.BEGINNING)[1]['colours']
    pixels = np.concatenate([np.asarray(first['image'][first['mask']]), np.asarray(second['image']).reshape(-1, 3)]) / 255
    np.testing.assert_allclose(found['mean'], pixels.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found['deviation'], pixels.std(axis=0), rtol=1e-4)


@pytest.mark.parametrize('name', NAMES)
def test_a_batch_in_parts_and_a_network_of_16_bits_have_a_loss_in_32(name):
    method = tiny.patch_pairs(name, {'dtype': 'bfloat16', 'variant': 'F4'})
    state = jax.eval_shape(method.init, jax.random.key(0), tiny.random_batch()['image'])
    parts = jax.tree.map(lambda array: array.reshape(2, 4, *array.shape[1:]), tiny.random_batch())
    (loss, (extra, _)), found = jax.eval_shape(
        lambda *state: gradients.of_parts(method, *state, parts, key=jax.random.key(0), time=tiny.BEGINNING), *state
    )
    assert loss.dtype == jnp.float32
    forms = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    assert (forms(found), forms(extra)) == tuple(map(forms, state))


@pytest.mark.parametrize(('config', 'expected'), [(doersch_coco3, 262_990_025), (isola_coco3, 262_981_825)])
def test_parameters_are_as_many_as_in_iic(config, expected):
    method = build.method(config.get_config().to_dict())
    image = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.uint8)
    params, _ = jax.eval_shape(method.init, jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


@pytest.mark.parametrize(
    ('name', 'option', 'value', 'message'),
    [
        ('isola', 'patch', 4, r'method\.patch is an odd number of pixels, at least 3; found 4'),
        ('isola', 'patch', 1, r'method\.patch is an odd number of pixels, at least 3; found 1'),
        ('isola', 'flip', 1.5, r'method\.flip is a probability, 0 to 1; found 1\.5'),
        ('doersch', 'directions', 7, r'method\.directions is 8, or 9 as in the code of IIC; found 7'),
        ('doersch', 'num_clusters', 1, r'method\.num_clusters is 2 to 255, found 1'),
        ('isola', 'locations', 'pixel', r"config\.method\.locations is one of image, batch; found 'pixel'"),
        ('isola', 'comparator', 'half', r"config\.method\.comparator is one of full, pooled; found 'half'"),
    ],
)
def test_a_wrong_option_is_told_with_what_is_right(name, option, value, message):
    with pytest.raises(UserError, match=rf'^{message}$'):
        tiny.patch_pairs(name, **{option: value})


def test_images_too_small_for_two_patches_are_refused():
    method = tiny.patch_pairs('doersch')
    method.check((2, 15, 40, 3), 1)
    with pytest.raises(UserError, match=r'^two patches need images of 5 times method\.patch, 15 pixels; found 14: enlarge '):
        method.check((2, 40, 14, 3), 1)
