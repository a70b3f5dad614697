"""InfoNCE against a loop over all pairs, and its estimate from drawn negatives."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from ar_seg_jax.errors import UserError
from ar_seg_jax.objectives import info_nce
from ar_seg_jax.objectives.info_nce import ContrastiveLoss
from tests.support import tiny


def _maps(batch=3, height=4, width=5, depth=6, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.normal(size=(batch, height, width, depth)), jnp.float32) for _ in range(2))


def _all_places(maps):
    return maps.reshape(maps.shape[0], -1, maps.shape[-1])


def _exact(loss, anchors, positives):
    return loss(anchors, positives, _all_places(positives))


def _by_pairs(anchors, positives, displacement, temperature, mask=None):
    """Supplement, Eq. 7 with N = 1 + negatives, for one anchor and one displacement after the other."""
    batch, height, width, _ = anchors.shape
    scores = np.einsum('bhwd,cijd->bhwcij', anchors, positives, dtype=np.float64) / temperature
    mask = np.ones((batch, height, width), bool) if mask is None else mask
    values = []
    for image, row, column in np.argwhere(mask):
        negatives = np.delete(scores[image, row, column], image, axis=0)[np.delete(mask, image, axis=0)]
        for down, right in itertools.product(range(-displacement, displacement + 1), repeat=2):
            beside = row + down, column + right
            if 0 <= beside[0] < height and 0 <= beside[1] < width and mask[image][beside]:
                positive = scores[image, row, column, image, *beside]
                values.append(logsumexp([positive, *negatives]) - positive)
    bounds = [np.log(1 + np.delete(mask, image, axis=0).sum()) for image, _, _ in np.argwhere(mask)]
    return np.mean(bounds) - np.mean(values)


@pytest.mark.parametrize(('displacement', 'temperature'), [(0, 1.0), (1, 1.0), (2, 0.3)])
def test_the_value_is_that_of_all_pairs(displacement, temperature):
    anchors, positives = _maps()
    loss, metrics = _exact(ContrastiveLoss(displacement, temperature), anchors, positives)
    expected = _by_pairs(np.asarray(anchors), np.asarray(positives), displacement, temperature)
    np.testing.assert_allclose(metrics['mutual_information'], expected, rtol=1e-5)
    np.testing.assert_allclose(loss, -expected, rtol=1e-5)
    np.testing.assert_allclose(metrics['mutual_information_bound'], np.log(41), rtol=1e-6)


@pytest.mark.parametrize('displacement', [0, 1])
def test_places_that_do_not_count_are_neither_anchors_nor_positives_nor_keys(displacement):
    maps, rng = _maps(), np.random.default_rng(2)
    mask = rng.uniform(size=(3, 4, 5)) > 0.4
    contrast = ContrastiveLoss(displacement, 1.0)

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def step(anchors, positives):
        return contrast(anchors, positives, _all_places(positives), jnp.asarray(mask), jnp.asarray(mask.reshape(3, -1)))

    (loss, metrics), gradients = step(*maps)
    np.testing.assert_allclose(loss, -_by_pairs(*map(np.asarray, maps), displacement, 1.0, mask), rtol=1e-5)
    assert metrics['mutual_information_bound'] < np.log(41)
    elsewhere = [np.where(mask[..., None], array, 100 * rng.normal(size=array.shape)) for array in maps]
    (same, _), same_gradients = step(*elsewhere)
    np.testing.assert_array_equal(same, loss)
    for gradient, again in zip(gradients, same_gradients, strict=True):
        np.testing.assert_array_equal(gradient, again)
        assert not np.asarray(gradient)[~mask].any() and np.asarray(gradient)[mask].all()


@pytest.mark.parametrize('counting', [0, 1])
def test_anchors_without_any_key_have_no_loss_and_no_gradient(counting):
    """As many images have a place that counts: none, or one, whose anchors have no other image to look at."""
    maps, mask = _maps(), np.zeros((3, 4, 5), bool)
    mask[:counting] = True
    masks = jnp.asarray(mask), jnp.asarray(mask.reshape(3, -1))
    step = jax.value_and_grad(lambda *maps: tiny.contrast()(*maps, _all_places(maps[1]), *masks)[0], (0, 1))
    loss, gradients = step(*maps)
    assert loss == 0 and not any(np.asarray(gradient).any() for gradient in gradients)


def _dense(anchors, positives):
    """All scores at once, for the gradient; no displacement."""
    batch, places = anchors.shape[0], anchors.shape[1] * anchors.shape[2]
    scores = jnp.einsum('bpd,cqd->bpcq', _all_places(anchors), _all_places(positives))
    same = jnp.eye(batch, dtype=bool)[:, None, :, None]
    negatives = jax.nn.logsumexp(jnp.where(same, -jnp.inf, scores), axis=(2, 3))
    positive = jnp.einsum('bpd,bpd->bp', _all_places(anchors), _all_places(positives))
    return jnp.mean(jnp.logaddexp(positive, negatives) - positive) - jnp.log(1 + (batch - 1) * float(places))


@pytest.mark.parametrize('at_once', [1, 7, 10_000])
def test_chunks_of_any_size_have_the_gradients_of_the_dense_formula(monkeypatch, at_once):
    monkeypatch.setattr(info_nce, '_ANCHORS_AT_ONCE', at_once)
    maps = _maps(batch=3, height=3, width=5)
    contrast = tiny.contrast(displacement=0)
    loss, gradients = jax.jit(jax.value_and_grad(lambda *maps: _exact(contrast, *maps)[0], argnums=(0, 1)))(*maps)
    expected, dense_gradients = jax.jit(jax.value_and_grad(_dense, argnums=(0, 1)))(*maps)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for found, wanted in zip(gradients, dense_gradients, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_memory_is_linear_in_places():
    def bytes_of(side):
        maps = [jax.ShapeDtypeStruct((4, side, side, 8), jnp.float32)] * 2
        step = jax.jit(jax.grad(lambda *maps: _exact(tiny.contrast(displacement=1), *maps)[0], argnums=(0, 1)))
        return step.lower(*maps).compile().memory_analysis().temp_size_in_bytes

    small, large = bytes_of(32), bytes_of(64)
    assert large < 4.5 * small  # places are four times as many; the full matrix would be sixteen times as large
    assert large < (4 * 64**2) ** 2 * 4 / 5


def test_drawn_negatives_estimate_the_exact_value():
    anchors, positives = _maps(batch=4, height=12, width=12, depth=4)
    loss = jax.jit(tiny.contrast(displacement=0))
    exact = float(_exact(loss, anchors, positives)[0])
    places = _all_places(positives)
    rng = np.random.default_rng(1)
    found = []
    for _ in range(20):
        drawn = np.stack([rng.choice(144, 48, replace=False) for _ in range(4)])
        found.append(float(loss(anchors, positives, jnp.take_along_axis(places, drawn[..., None], axis=1))[0]))
    assert abs(np.mean(found) - exact) < 0.03 * abs(exact)
    # Without the correction for what was not drawn the error would be about the logarithm of 3.
    assert np.std(found) < 0.1


def test_places_of_the_same_image_are_no_negatives():
    anchors, positives = _maps(batch=2, height=3, width=3)
    alone = positives.at[1].set(0)  # all scores with the other image are 0
    found = info_nce.log_partition(anchors, _all_places(alone), jnp.ones((2, 9), bool))[0]
    np.testing.assert_allclose(found, np.log(9), rtol=1e-6)


def test_equal_features_carry_no_information_and_distinct_ones_all():
    same = jnp.ones((3, 2, 2, 5))
    np.testing.assert_allclose(_exact(tiny.contrast(displacement=0), same, same)[0], 0, atol=1e-6)
    images = 40 * jnp.eye(3)[:, None, None, :] * jnp.ones((3, 2, 2, 3))
    loss, metrics = _exact(tiny.contrast(displacement=1), images, images)
    np.testing.assert_allclose(loss, -np.log(9), rtol=1e-6)
    assert all(np.isfinite(metrics[name]) for name in metrics)


def test_what_cannot_be_is_explained():
    anchors, positives = _maps(batch=1)
    with pytest.raises(UserError, match='negatives come from other images, so a batch needs at least 2; found 1'):
        _exact(tiny.contrast(displacement=0), anchors, positives)
    anchors, positives = _maps()
    with pytest.raises(UserError, match=r'less than the map, found 4 for a map of 4 x 5; lower --config\.method\.displacement'):
        _exact(tiny.contrast(displacement=4), anchors, positives)
    with pytest.raises(UserError, match='the temperature must be above 0, found 0'):
        tiny.contrast(temperature=0.0)


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_accelerators_are_asked_for_products_in_single_precision(platform):
    """Otherwise a GPU would take TF32 for them, and a TPU bfloat16."""
    maps = [jax.ShapeDtypeStruct((3, 4, 4, 8), jnp.float32)] * 2
    gradient = jax.jit(jax.grad(lambda *maps: _exact(tiny.contrast(displacement=1), *maps)[0], argnums=(0, 1)))
    products = re.findall(r'stablehlo\.dot_general.*', gradient.trace(*maps).lower(lowering_platforms=(platform,)).as_text())
    assert len(products) >= 5 and all('precision = [HIGHEST, HIGHEST]' in product for product in products)
