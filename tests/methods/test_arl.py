"""Autoregressive representation learning as a whole: its step, its parts and devices, its clusters."""

import dataclasses
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ar_seg_jax.methods.views import Views
from sklearn.cluster import KMeans
from test_ac import QUICK, STEP, assert_trees_close, random_batch, stepper

from ar_seg_jax import build, orderings
from ar_seg_jax.methods.arl import ARL
from ar_seg_jax.models.autoregressive import Autoregressive
from ar_seg_jax.models.critics import SeparableCritics
from ar_seg_jax.objectives.info_nce import ContrastiveLoss
from ar_seg_jax.training import gradients
from configs import textures

WIDTH = 5
NAMES = ('A1', 'D3', 'B4')


def tiny_arl(negatives=0, displacement=1, clusters=3, variant='F2', **views):
    model = Autoregressive(num_clusters=WIDTH, variant=variant, blocks=1)
    views = Views(**{'orderings': NAMES, 'sampling': 'no_repetition', **views})
    return ARL(model, SeparableCritics(), ContrastiveLoss(displacement), clusters, views, negatives)


@pytest.fixture(scope='module')
def state():
    """Parameters and extra, for every tiny_arl of F2 and three clusters."""
    return jax.jit(tiny_arl().init, compiler_options=QUICK)(jax.random.key(0), random_batch()['image'])


@pytest.fixture(scope='module')
def step():
    return stepper(tiny_arl())


def dense_loss(anchors, positives, displacement):
    """InfoNCE from the matrix of all scores; the anchors' windows by coordinates."""
    batch, height, width, depth = anchors.shape
    places = height * width
    rows, columns = np.divmod(np.arange(places), width)
    near = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns)) <= displacement
    scores = jnp.einsum('bpd,cqd->bpcq', *(maps.reshape(batch, places, depth) for maps in (anchors, positives)))
    others = jnp.where(np.eye(batch, dtype=bool)[:, None, :, None], -jnp.inf, scores)
    partition = jax.nn.logsumexp(others, axis=(2, 3))[..., None]
    own = jnp.stack([scores[index, :, index] for index in range(batch)])
    ratios = own - jnp.logaddexp(own, partition)
    return -jnp.sum(ratios * near[None]) / (batch * near.sum()) - np.log(1 + (batch - 1) * places)


def critic(params, name, x):
    """Table 3 of the supplement in training: convolution, ReLU, convolution, ReLU, shortcut, batch norm."""

    def conv(x, part):
        return x @ params[f'{name}_{part}']['kernel'] + params[f'{name}_{part}']['bias'][None, None, None]

    x = jnp.maximum(conv(jnp.maximum(conv(x, 'conv_0'), 0), 'conv_1'), 0) + conv(x, 'shortcut')
    mean, variance = (statistic(x, (0, 1, 2), keepdims=True) for statistic in (jnp.mean, jnp.var))
    scale, bias = (params[f'{name}_norm'][part][None, None, None] for part in ('scale', 'bias'))
    return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias


def pair_loss(params, extra, batch, pair):
    """The loss of a tiny_arl for a pair of orderings by other means, and the network's new statistics."""
    (first, second), updated = tiny_arl().model.apply(
        {'params': params['network'], 'batch_stats': extra['batch_stats']['network']},
        jnp.float32(batch['image']) / 255,
        pair,
        train=True,
        mutable=['batch_stats'],
    )
    first, second = (critic(params['critics'], name, maps['logits']) for name, maps in (('first', first), ('second', second)))
    return dense_loss(first, second, 1), updated


def test_a_step_is_infonce_of_two_views_through_critics_of_their_own(state, step):
    batch, key = random_batch(), jax.random.key(5)
    params, extra = state
    pair = orderings.sample_pair(jax.random.split(key)[0], orderings.stack(NAMES), 'no_repetition')

    (expected, updated), expected_gradients = jax.jit(
        jax.value_and_grad(lambda params: pair_loss(params, extra, batch, pair), has_aux=True), compiler_options=QUICK
    )(params)
    (loss, (new_extra, metrics)), found = step(params, extra, batch, key)
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics['mutual_information'], -loss, rtol=1e-6)
    np.testing.assert_allclose(metrics['mutual_information_bound'], np.log(1 + 7 * 16), rtol=1e-6)
    assert_trees_close(found, expected_gradients, rtol=1e-2)
    assert all(float(jnp.abs(found[part]['decoder' if part == 'network' else 'second_conv_0']['kernel']).max()) > 1e-4
               for part in ('network', 'critics'))  # fmt: skip
    assert_trees_close(new_extra['batch_stats']['network'], updated['batch_stats'], rtol=1e-5)
    np.testing.assert_array_equal(new_extra['centroids'], extra['centroids'])
    moved = jax.tree.map(lambda new, old: bool((new != old).any()), new_extra['batch_stats'], extra['batch_stats'])
    assert all(jax.tree.leaves(moved))


def test_critics_are_those_of_the_supplement_with_running_statistics_too():
    rng = np.random.default_rng(0)
    first, second = (jnp.asarray(rng.normal(size=(2, 3, 4, WIDTH)), jnp.float32) for _ in range(2))
    variables = SeparableCritics().init(jax.random.key(0), first, second)
    variables = jax.tree.map(lambda leaf: leaf + jnp.asarray(0.1 * rng.normal(size=leaf.shape), leaf.dtype), variables)
    found, updated = SeparableCritics().apply(variables, first, second, train=True, mutable=['batch_stats'])
    for name, maps, projected in zip(('first', 'second'), (first, second), found, strict=True):
        assert projected.shape == (2, 3, 4, 2 * WIDTH)
        np.testing.assert_allclose(projected, critic(variables['params'], name, maps), rtol=1e-4, atol=1e-5)
    # With running statistics the result is the same up to an affine map of each channel, which these say.
    still = SeparableCritics().apply(variables, first, second)
    variables, updated = jax.tree.map(np.asarray, (variables, updated))
    for name, trained, running in zip(('first', 'second'), found, still, strict=True):
        old, new = (tree['batch_stats'][f'{name}_norm'] for tree in (variables, updated))
        own = {key: (new[key] - 0.9 * old[key]) / 0.1 for key in ('mean', 'var')}  # of these maps
        scale, bias = (variables['params'][f'{name}_norm'][part] for part in ('scale', 'bias'))
        raw = (np.asarray(trained) - bias) / scale * np.sqrt(own['var'] + 1e-5) + own['mean']
        np.testing.assert_allclose(running, (raw - old['mean']) / np.sqrt(old['var'] + 1e-5) * scale + bias, rtol=1e-3, atol=1e-3)


def test_eight_devices_compute_what_one_does_and_one_compilation_serves_all_pairs(state, step):
    batch, key = random_batch(), jax.random.key(3)
    (expected, (expected_extra, _)), expected_gradients = step(*state, batch, key)
    losses = [float(step(*state, batch, jax.random.key(seed))[0][0]) for seed in range(6)]
    assert len({round(loss, 5) for loss in losses}) > 2 and step._cache_size() == 1
    mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
    over_data, everywhere = (jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in (('data',), ()))
    (loss, (new_extra, _)), found = step(
        *jax.device_put(state, everywhere), jax.device_put(batch, over_data), jax.device_put(key, everywhere)
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert_trees_close(new_extra, expected_extra, rtol=1e-4)
    assert_trees_close(found, expected_gradients, rtol=1e-2)


def test_parts_have_statistics_and_negatives_of_their_own_and_one_loss(state):
    """By hand: the outputs of each part by itself, then the objective of them all, differentiated at once.

    The undivided batch has another loss, since critics normalise what they see together.
    """
    method, batch, key = tiny_arl(negatives=5), random_batch(), jax.random.key(4)
    params, extra = state
    parts = {name: array.reshape(2, 4, *array.shape[1:]) for name, array in batch.items()}

    def by_hand(params):
        halves = [
            method.forward(params, extra, {name: array[part] for name, array in parts.items()}, key=key, part=part)
            for part in range(2)
        ]
        outputs = jax.tree.map(lambda *each: jnp.concatenate(each), *(outputs for outputs, _ in halves))
        return method.objective(outputs, batch, step=STEP)[0], [extra for _, extra in halves]

    (expected, extras), expected_gradients = jax.jit(jax.value_and_grad(by_hand, has_aux=True), compiler_options=QUICK)(params)
    (loss, (new_extra, _)), found = jax.jit(
        lambda params: gradients.of_parts(method, params, extra, parts, key=key, step=STEP), compiler_options=QUICK
    )(params)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert_trees_close(found, expected_gradients, rtol=1e-2)
    assert_trees_close(new_extra, jax.tree.map(lambda one, two: (one + two) / 2, *extras), rtol=1e-5)


def test_drawn_negatives_are_places_of_their_image_and_differ_by_step_image_and_part(state):
    method, batch = tiny_arl(negatives=5, orderings=('A1',), sampling='random'), random_batch(4)
    outputs = jax.jit(lambda key, part: method.forward(*state, batch, key=key, part=part)[0], compiler_options=QUICK)

    def drawn(seed, part):
        _, positives, keys = outputs(jax.random.key(seed), part)
        assert keys.shape == (4, 5, 2 * WIDTH)
        found = []
        for image, taken in zip(np.asarray(positives).reshape(4, 16, -1), np.asarray(keys), strict=True):
            places = [int(place) for one in taken for place in np.flatnonzero((image == one[None]).all(axis=1))]
            assert len(places) == len(set(places)) == 5
            found.append(frozenset(places))
        return found

    first = drawn(0, 0)
    assert drawn(0, 0) == first and len(set(first)) > 1
    assert drawn(0, 1) != first and drawn(1, 0) != first


@pytest.mark.parametrize('negatives', [0, 16, 100])
def test_all_places_are_keys_where_no_fewer_are_drawn(state, negatives):
    method = tiny_arl(negatives)
    forward = jax.eval_shape(lambda batch: method.forward(*state, batch, key=jax.random.key(0))[0], random_batch())
    assert forward[2].shape == (8, 16, 2 * WIDTH)


def _refresh(method, state, batches, seed):
    return method.refresh(*state, batches, key=jax.random.key(seed))


def test_pixels_have_the_nearest_centroid_of_their_interpolated_features(state):
    method, batch = tiny_arl(), random_batch(3)
    params, extra = state
    image = batch['image'][:, :14, :11]  # does not divide by the output stride
    (outputs,) = jax.jit(
        lambda image: method.model.apply(
            {'params': params['network'], 'batch_stats': extra['batch_stats']['network']}, image
        )
    )(jnp.float32(image) / 255)  # fmt: skip
    features = np.asarray(outputs['logits'])
    centroids = features.reshape(-1, WIDTH)[[3, 11, 30]]
    predicted = jax.jit(method.predict)(params, {**extra, 'centroids': jnp.asarray(centroids)}, image)
    pixels = np.asarray(jax.image.resize(features, (3, 16, 12, WIDTH), 'bilinear'))[:, :14, :11]
    distances = np.linalg.norm(pixels[..., None, :] - centroids, axis=-1)
    clear = np.diff(np.sort(distances, axis=-1)[..., :2], axis=-1)[..., 0] > 1e-3
    assert clear.mean() > 0.9 and len(np.unique(distances.argmin(-1))) == 3
    np.testing.assert_array_equal(predicted['scores'].argmax(-1)[clear], distances.argmin(-1)[clear])
    np.testing.assert_allclose(predicted['scores'].sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(predicted['logits'], features, rtol=1e-4, atol=1e-5)


def test_refreshed_centroids_are_those_of_the_unmasked_features_and_follow_from_the_key(state):
    method, batches = tiny_arl(), [random_batch(), {**random_batch(), 'image': random_batch()['image'] // 2}]
    params, extra = state
    before = jax.tree.map(np.asarray, state)
    found = _refresh(method, state, iter(batches), 1)
    assert_equal = lambda one, two: jax.tree.map(np.testing.assert_array_equal, one, two)  # noqa: E731
    assert_equal(jax.tree.map(np.asarray, state), before)
    assert_equal(found['batch_stats'], extra['batch_stats'])
    assert_equal(_refresh(method, state, iter(batches), 1), found)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, extra)
    assert not np.array_equal(_refresh(method, state, iter(batches), 2)['centroids'], found['centroids'])
    vectors = np.concatenate([np.asarray(method.predict(params, found, batch['image'])['logits']).reshape(-1, WIDTH)
                              for batch in batches])  # fmt: skip
    inertia = np.min(np.linalg.norm(vectors[:, None] - np.asarray(found['centroids']), axis=-1) ** 2, axis=1).sum()
    assert inertia < 1.1 * KMeans(3, n_init=5, random_state=0).fit(vectors).inertia_


def test_training_does_not_depend_on_the_centroids(state, step):
    params, extra = state
    refreshed = _refresh(tiny_arl(), state, [random_batch()], 0)
    assert np.abs(refreshed['centroids']).max() > 0
    (loss, (new_extra, _)), found = step(params, refreshed, random_batch(), jax.random.key(6))
    (expected, (expected_extra, _)), expected_gradients = step(params, extra, random_batch(), jax.random.key(6))
    assert loss == expected
    np.testing.assert_array_equal(new_extra['centroids'], refreshed['centroids'])
    jax.tree.map(
        np.testing.assert_array_equal, (found, new_extra['batch_stats']), (expected_gradients, expected_extra['batch_stats'])
    )


@pytest.mark.parametrize(('variant', 'views'), [('F1', {}), ('F2', {'transformations': 'all'}), ('F4', {'sobel': True})])
def test_a_step_keeps_the_structure_of_the_state(variant, views):
    method, batch = tiny_arl(variant=variant, clusters=7, **views), random_batch(2)
    params, extra = jax.eval_shape(method.init, jax.random.key(0), batch['image'])
    assert extra['centroids'].shape == (7, WIDTH) and set(params) == {'network', 'critics'}
    assert bool(extra['batch_stats']['network']) == (variant != 'F1')
    (_, (new_extra, _)), gradients = jax.eval_shape(stepper(method), params, extra, batch, jax.random.key(0))
    for before, after in ((params, gradients), (extra, new_extra)):
        assert jax.tree.structure(before) == jax.tree.structure(after)
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), before) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), after
        )
    assert jax.eval_shape(method.predict, params, extra, batch['image'])['scores'].shape == (2, 16, 16, 7)


def test_the_hard_pair_of_representations_has_the_highest_loss(state, step):
    """All pairs of two orderings are one of two: the loss is the greater one of the single orderings' pairs."""
    batch = random_batch(4)
    losses = {}
    for names in itertools.permutations(('A1', 'D3')):

        def of_pair(params, names=names):
            return pair_loss(params, state[1], batch, tuple(map(orderings.by_name, names)))[0]

        losses[names] = float(jax.jit(of_pair, compiler_options=QUICK)(state[0]))
    method = tiny_arl(orderings=('A1', 'D3'), sampling='hard_loss', candidates=8)
    loss = float(stepper(method)(*state, batch, jax.random.key(1))[0][0])
    assert abs(losses['A1', 'D3'] - losses['D3', 'A1']) > 1e-4
    np.testing.assert_allclose(loss, max(losses.values()), rtol=1e-4)


def test_what_cannot_be_is_explained(state):
    with pytest.raises(ValueError, match=r'arl\.negatives is at least 0, which takes all places; found -1'):
        tiny_arl(negatives=-1)
    with pytest.raises(ValueError, match='a batch needs at least 2; found 1'):
        jax.eval_shape(lambda batch: stepper(tiny_arl())(*state, batch, jax.random.key(0)), random_batch(1))
    with pytest.raises(ValueError, match='found 4 places for a map of 4 x 4'):
        jax.eval_shape(lambda batch: stepper(tiny_arl(displacement=4))(*state, batch, jax.random.key(0)), random_batch(2))
    with pytest.raises(ValueError, match='k-means: 16 vectors are fewer than 17 clusters'):
        _refresh(tiny_arl(clusters=17), state, [random_batch(1)], 0)


def test_a_config_describes_it():
    config = textures.get_config()
    config.method.name = 'arl'
    config.method.transformations = 'turn'
    config.model.update(num_clusters=4, auxiliary_clusters=9)
    config.arl.update(width=11, displacement=2, temperature=0.5, negatives=6)
    method = build.method(config.to_dict())
    assert (method.num_clusters, method.negatives, method.contrast) == (4, 6, ContrastiveLoss(2, 0.5))
    assert (method.model.num_clusters, method.model.auxiliary_clusters) == (11, 0)
    assert method.views == dataclasses.replace(Views(), transformations='turn')
    assert isinstance(method.critics, nn.Module)
    config.arl.unlock()
    config.arl.depth = 3
    with pytest.raises(ValueError, match=r"config\.arl does not fit 'arl': .*depth"):
        build.method(config.to_dict())
    config.method.name = 'barl'
    with pytest.raises(ValueError, match=r"no method is called 'barl'; config\.method\.name is one of ac, arl"):
        build.method(config.to_dict())
