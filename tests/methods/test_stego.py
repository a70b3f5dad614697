"""STEGO: its loss recomputed from points, what each part trains, whom an image is compared with, and its predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax import build
from ar_seg_jax.errors import UserError
from ar_seg_jax.objectives import correspondence
from ar_seg_jax.objectives.correspondence import Points
from ar_seg_jax.training import gradients
from configs import common
from tests.support import methods, tiny

pytestmark = pytest.mark.usefixtures('compiled_once')
KEY = jax.random.key(1)
OPTIONS = {'num_clusters': 3, 'width': 5, 'dropout': 0.0, 'points': 7, 'other_images': 2}


def _made(terms='cocostuff_small', **options):
    return build.method({'method': common.stego(terms) | OPTIONS | options, 'model': methods.config('stego')['model']})


@pytest.fixture(scope='module')
def method():
    return _made()


@pytest.fixture(scope='module')
def state(method):
    return method.init(jax.random.key(0), tiny.random_batch()['image'])


@pytest.fixture(scope='module')
def step(method):
    return tiny.stepper(method)


def _rolled(points, step):
    return Points(*(jnp.concatenate([leaf[step:], leaf[:step]]) for leaf in points))


@pytest.mark.parametrize('void', [False, True])
def test_the_loss_is_that_of_three_terms_and_the_probe(method, state, step, void):
    """From maps of the network; points and the loss of a term have tests of their own."""
    params, extra = state
    batch = tiny.with_void(tiny.random_batch(), below=5) if void else tiny.random_batch()
    (loss, (_, metrics)), _ = step(params, extra, batch, KEY)
    features = method.features(params, extra, batch['image'])
    code, _ = method.projector.apply({'params': params['projector']}, features)
    counted = np.ones(code.shape[:3], bool)
    counted[:, :1] = not void  # the centre of the first row of cells is in pixel 1, that of the second one in pixel 5
    keys = jax.random.split(jax.random.fold_in(KEY, 0), 3)[1:]
    first, second = (correspondence.sampled(features, code, jnp.asarray(counted), 7, key) for key in keys)
    pooled = np.stack([maps[counts].mean(0) for maps, counts in zip(np.asarray(features), counted, strict=True)])
    pooled /= np.linalg.norm(pooled, axis=-1, keepdims=True)
    neighbours = (pooled @ pooled.T - 2 * np.eye(8)).argmax(-1)
    parts = {
        'own': correspondence.correspondence(first, first, 0.08),
        'neighbour': correspondence.correspondence(first, Points(*(leaf[neighbours] for leaf in second)), 0.02),
        'others': np.mean([correspondence.correspondence(first, _rolled(second, by), 0.66) for by in (1, 2)]),
    }
    vectors, prototypes = np.asarray(code)[counted], np.asarray(params['prototypes'])
    cosines = vectors @ prototypes.T / np.linalg.norm(vectors, axis=-1)[:, None] / np.linalg.norm(prototypes, axis=-1)
    for name, part in (parts | {'cosine': cosines.max(-1).mean()}).items():
        np.testing.assert_allclose(metrics[name], part, rtol=1e-3, atol=1e-5)
    expected = 0.67 * parts['own'] + 0.25 * parts['neighbour'] + 0.63 * parts['others'] - cosines.max(-1).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-3)
    shares = np.bincount(cosines.argmax(-1), minlength=3) / len(cosines)
    np.testing.assert_allclose(metrics['entropy'], -np.sum(shares * np.log(np.maximum(shares, 1e-9))), rtol=1e-4)


def test_terms_train_the_projector_and_the_probe_the_prototypes(method, state):
    params, extra = state

    def part(params, name):
        outputs, _ = method.forward(params, extra, tiny.random_batch(), key=KEY, time=tiny.BEGINNING)
        return method.objective(outputs, tiny.random_batch(), time=tiny.BEGINNING)[1][name]

    for name, trained in (('own', 'projector'), ('neighbour', 'projector'), ('others', 'projector'), ('cosine', 'prototypes')):
        found = jax.jit(jax.grad(part), static_argnums=1, compiler_options=tiny.QUICK)(params, name)
        moved = {group for group, leaves in found.items() if any(bool((leaf != 0).any()) for leaf in jax.tree.leaves(leaves))}
        assert moved == {trained}, name


def test_a_small_batch_has_each_other_image_once(state):
    """With as many others as there are, and with more than there are."""
    image = tiny.random_batch(3)

    def loss(others):
        method = _made(other_images=others)
        return jax.jit(lambda params, extra: gradients.loss(method, params, extra, image, key=KEY, time=tiny.BEGINNING)[0])(
            *state
        )

    assert loss(2) == loss(5) != loss(1)


def test_points_follow_from_the_key_and_the_part(method, state):
    def points(key, part):
        outputs, _ = method.forward(*state, tiny.random_batch(2), key=key, time=tiny.BEGINNING, part=part)
        return np.asarray(outputs['first'].features)

    one = points(KEY, 0)
    np.testing.assert_array_equal(points(KEY, 0), one)
    assert not np.array_equal(points(KEY, 1), one) and not np.array_equal(points(jax.random.key(2), 0), one)


def test_predictions_are_those_of_the_probe(method, state):
    params, extra = state
    image = tiny.random_batch(2)['image']
    found = method.predict(params, extra, image)
    at_pixels = np.asarray(method.to_pixels(found['logits'], 16, 16))
    np.testing.assert_array_equal(
        found['scores'].argmax(-1),
        (at_pixels @ (params['prototypes'] / jnp.linalg.norm(params['prototypes'], axis=-1, keepdims=True)).T).argmax(-1),
    )


def test_published_terms_are_options_by_name():
    method = _made('potsdam')
    assert (method.own, method.neighbour, method.others) == ((0.67, 0.08), (0.25, 0.02), (0.63, 0.46))
    assert _made('cityscapes').others == (0.906, 0.314)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'own_weight': -1.0}, r'method\.own_weight is at least 0 .*; found -1\.0 and 0\.08'),
        ({'others_shift': float('inf')}, r'method\.others_shift a number, such as 0\.1; found 0\.63 and inf'),
        ({'points': 0}, r'method\.points is at least 1, found 0'),
        ({'other_images': 0}, r'method\.other_images is at least 1, found 0'),
    ],
)
def test_wrong_options_are_told(options, message):
    with pytest.raises(UserError, match=message):
        _made(**options)
