"""Autoregressive representation learning as a whole: its step, its parts, its clusters."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from ar_seg_jax import build, orderings
from ar_seg_jax.errors import UserError
from ar_seg_jax.methods.scans import Views
from ar_seg_jax.objectives.info_nce import ContrastiveLoss
from ar_seg_jax.training import gradients
from configs import common, textures
from tests.support import tiny

WIDTH = 5
NAMES = ('A1', 'D3', 'B4')


@pytest.fixture(scope='module')
def state():
    """Parameters and extra, for every tiny.arl of F2 and three clusters."""
    return jax.jit(tiny.arl().init, compiler_options=tiny.QUICK)(jax.random.key(0), tiny.random_batch()['image'])


@pytest.fixture(scope='module')
def step():
    return tiny.stepper(tiny.arl())


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


def pair_loss(params, extra, batch, pair):
    """The loss of a tiny.arl for a pair of orderings by other means, and the network's new statistics."""
    (first, second), updated = tiny.arl().model.apply(
        {'params': params['network'], 'batch_stats': extra['batch_stats']['network']},
        jnp.float32(batch['image']) / 255,
        pair,
        train=True,
        mutable=['batch_stats'],
        method='scan',
    )
    anchors, positives = (
        tiny.critic(params['critics'], name, maps['decoder']) for name, maps in (('first', first), ('second', second))
    )
    return dense_loss(anchors, positives, 1), updated


def test_a_step_is_infonce_of_two_views_through_critics_of_their_own(state, step):
    batch, key = tiny.random_batch(), jax.random.key(5)
    params, extra = state
    pair = orderings.sample_pair(jax.random.split(key)[0], orderings.stack(NAMES), 'no_repetition')

    (expected, updated), expected_gradients = jax.jit(
        jax.value_and_grad(lambda params: pair_loss(params, extra, batch, pair), has_aux=True), compiler_options=tiny.QUICK
    )(params)
    (loss, (new_extra, metrics)), found = step(params, extra, batch, key)
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics['mutual_information'], -loss, rtol=1e-6)
    np.testing.assert_allclose(metrics['mutual_information_bound'], np.log(1 + 7 * 16), rtol=1e-6)
    words, warning = tiny.arl().describe({name: float(value) for name, value in metrics.items()})
    assert words == f'MI {-loss:.4f} of at most {np.log(113):.4f} nats' and not warning
    tiny.assert_trees_close(found, expected_gradients, rtol=1e-2)
    for part, layer in (('network', 'decoder'), ('critics', 'second_conv_0')):
        assert float(jnp.abs(found[part][layer]['kernel']).max()) > 1e-4
    tiny.assert_trees_close(new_extra['batch_stats']['network'], updated['batch_stats'], rtol=1e-5)
    np.testing.assert_array_equal(new_extra['centroids'], extra['centroids'])
    moved = jax.tree.map(lambda new, old: bool((new != old).any()), new_extra['batch_stats'], extra['batch_stats'])
    assert all(jax.tree.leaves(moved))


def test_one_compilation_serves_all_pairs_of_orderings(state, step):
    losses = [float(step(*state, tiny.random_batch(), jax.random.key(seed))[0][0]) for seed in range(6)]
    assert len({round(loss, 5) for loss in losses}) > 2 and step._cache_size() == 1


def test_parts_have_statistics_and_negatives_of_their_own_and_one_loss(state):
    """By hand: the outputs of each part by itself, then the objective of them all, differentiated at once.

    The undivided batch has another loss, since critics normalise what they see together.
    """
    method, batch, key = tiny.arl(negatives=5, orderings='A1,D3'), tiny.random_batch(), jax.random.key(4)
    params, extra = state
    parts = {name: array.reshape(2, 4, *array.shape[1:]) for name, array in batch.items()}

    def by_hand(params):
        halves = [
            method.forward(
                params, extra, {name: array[part] for name, array in parts.items()}, key=key, time=tiny.BEGINNING, part=part
            )
            for part in range(2)
        ]
        outputs = jax.tree.map(lambda *each: jnp.concatenate(each), *(outputs for outputs, _ in halves))
        return method.objective(outputs, batch, time=tiny.BEGINNING)[0], [extra for _, extra in halves]

    (expected, extras), expected_gradients = jax.jit(jax.value_and_grad(by_hand, has_aux=True), compiler_options=tiny.QUICK)(
        params
    )
    (loss, (new_extra, _)), found = jax.jit(
        lambda params: gradients.of_parts(method, params, extra, parts, key=key, time=tiny.BEGINNING), compiler_options=tiny.QUICK
    )(params)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    tiny.assert_trees_close(found, expected_gradients, rtol=1e-2)
    tiny.assert_trees_close(new_extra, jax.tree.map(lambda one, two: (one + two) / 2, *extras), rtol=1e-5)


def test_drawn_negatives_are_places_of_their_image_and_differ_by_step_image_and_part(state):
    method, batch = tiny.arl(negatives=5, orderings='A1', sampling='random'), tiny.random_batch(4)
    outputs = jax.jit(
        lambda key, part: method.forward(*state, batch, key=key, time=tiny.BEGINNING, part=part)[0], compiler_options=tiny.QUICK
    )

    def drawn(seed, part):
        _, positives, keys, _, _ = outputs(jax.random.key(seed), part)
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
    method = tiny.arl(negatives=negatives)
    _, _, keys, _, _ = jax.eval_shape(
        lambda batch: method.forward(*state, batch, key=jax.random.key(0), time=tiny.BEGINNING)[0], tiny.random_batch()
    )
    assert keys.shape == (8, 16, 2 * WIDTH)


def _read_out(method, state, batches, seed):
    return method.readout(*state, batches, key=jax.random.key(seed))


def test_pixels_have_the_nearest_centroid_of_their_interpolated_features(state):
    method, batch = tiny.arl(), tiny.random_batch(3)
    params, extra = state
    image = batch['image'][:, :14, :11]  # does not divide by the output stride
    network = {'params': params['network'], 'batch_stats': extra['batch_stats']['network']}
    features = np.asarray(jax.jit(method.model.apply)(network, jnp.float32(image) / 255)['decoder'])
    centroids = features.reshape(-1, WIDTH)[[3, 11, 30]]
    predicted = jax.jit(method.predict)(params, {**extra, 'centroids': jnp.asarray(centroids)}, image)
    pixels = np.asarray(tiny.interpolated(features, 14, 11))
    distances = np.linalg.norm(pixels[..., None, :] - centroids, axis=-1)
    clear = np.diff(np.sort(distances, axis=-1)[..., :2], axis=-1)[..., 0] > 1e-3
    assert clear.mean() > 0.9 and len(np.unique(distances.argmin(-1))) == 3
    np.testing.assert_array_equal(predicted['scores'].argmax(-1)[clear], distances.argmin(-1)[clear])
    np.testing.assert_allclose(predicted['scores'].sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(predicted['logits'], features, rtol=1e-4, atol=1e-5)


def test_read_out_centroids_are_those_of_the_unmasked_features_and_follow_from_the_key(state):
    method, batches = tiny.arl(), [tiny.random_batch(), {**tiny.random_batch(), 'image': tiny.random_batch()['image'] // 2}]
    params, extra = state
    before = jax.tree.map(np.asarray, state)
    found = _read_out(method, state, iter(batches), 1)
    assert_equal = lambda one, two: jax.tree.map(np.testing.assert_array_equal, one, two)  # noqa: E731
    assert_equal(jax.tree.map(np.asarray, state), before)
    assert_equal(found['batch_stats'], extra['batch_stats'])
    assert_equal(_read_out(method, state, iter(batches), 1), found)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, extra)
    assert not np.array_equal(_read_out(method, state, iter(batches), 2)['centroids'], found['centroids'])
    assert np.abs(found['centroids']).max() > 0
    predict = jax.jit(method.predict)
    vectors = np.concatenate([predict(params, found, batch['image'])['logits'].reshape(-1, WIDTH) for batch in batches])
    inertia = np.min(np.linalg.norm(vectors[:, None] - np.asarray(found['centroids']), axis=-1) ** 2, axis=1).sum()
    assert inertia < 1.1 * KMeans(3, n_init=5, random_state=0).fit(vectors).inertia_


def test_the_places_of_void_pixels_do_not_count(state):
    batch = tiny.with_void(tiny.random_batch(), below=5)
    method = tiny.arl(negatives=5)
    outputs = jax.jit(lambda: method.forward(*state, batch, key=jax.random.key(0), time=tiny.BEGINNING)[0])()
    _, positives, keys, mask, key_mask = map(np.asarray, outputs)
    assert not mask[:, :2].any() and mask[:, 2:].all()  # cells of rows 0 and 4, and of 8 and 12
    places = positives.reshape(8, 16, -1)
    for image, taken, counting in zip(places, keys, key_mask, strict=True):
        place = [int(np.flatnonzero((image == one[None]).all(axis=1))[0]) for one in taken]
        np.testing.assert_array_equal(counting, np.array(place) >= 8)
    everything = jnp.ones_like(mask), jnp.ones_like(key_mask)
    losses = [method.objective(outputs[:3] + masks, batch, time=tiny.BEGINNING)[0] for masks in (outputs[3:], everything)]
    assert abs(losses[0] - losses[1]) > 1e-3


def test_images_that_do_not_count_do_not_move_centroids(state):
    batch, method = tiny.random_batch(), tiny.arl()
    counts = jnp.ones((8, 16, 16), bool).at[5:].set(False)
    masked, changed = ({**batch, 'image': image, 'mask': counts} for image in (batch['image'], batch['image'].at[5:].set(90)))
    first, again = (_read_out(method, state, iter([found]), 1)['centroids'] for found in (masked, changed))
    np.testing.assert_array_equal(first, again)
    alone = {name: array[:5] for name, array in batch.items()}
    np.testing.assert_allclose(_read_out(method, state, iter([alone]), 1)['centroids'], first, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('variant', 'views'), [('F1', {}), ('F2', {'transformations': 'all'}), ('F4', {'sobel': True})])
def test_a_step_keeps_the_structure_of_the_state(variant, views):
    method, batch = tiny.arl({'variant': variant}, num_clusters=7, **views), tiny.random_batch(2)
    params, extra = jax.eval_shape(method.init, jax.random.key(0), batch['image'])
    assert extra['centroids'].shape == (7, WIDTH) and set(params) == {'network', 'critics'}
    assert bool(extra['batch_stats']['network']) == (variant != 'F1')
    (_, (new_extra, _)), gradients = jax.eval_shape(tiny.stepper(method), params, extra, batch, jax.random.key(0))
    for before, after in ((params, gradients), (extra, new_extra)):
        assert jax.tree.structure(before) == jax.tree.structure(after)
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), before) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), after
        )
    assert jax.eval_shape(method.predict, params, extra, batch['image'])['scores'].shape == (2, 16, 16, 7)


def test_the_hard_pair_of_representations_has_the_highest_loss(state, step):
    """All pairs of two orderings are one of two: the loss is the greater one of the single orderings' pairs."""
    batch = tiny.random_batch(4)
    of_pair = jax.jit(lambda pair: pair_loss(*state, batch, pair)[0], compiler_options=tiny.QUICK)
    losses = {names: float(of_pair(tuple(map(orderings.by_name, names)))) for names in itertools.permutations(('A1', 'D3'))}
    method = tiny.arl(orderings='A1,D3', sampling='hard_loss', candidates=8)
    loss = float(tiny.stepper(method)(*state, batch, jax.random.key(1))[0][0])
    assert abs(losses['A1', 'D3'] - losses['D3', 'A1']) > 1e-4
    np.testing.assert_allclose(loss, max(losses.values()), rtol=1e-4)


def test_what_cannot_be_is_explained(state):
    with pytest.raises(UserError, match=r'method\.negatives is at least 0, which takes all places; found -1'):
        tiny.arl(negatives=-1)
    with pytest.raises(UserError, match=r'method\.width is 2 to 4096, found 1'):
        tiny.arl(width=1)
    with pytest.raises(UserError, match='a batch needs at least 2; found 1'):
        jax.eval_shape(lambda batch: tiny.stepper(tiny.arl())(*state, batch, jax.random.key(0)), tiny.random_batch(1))
    too_far = tiny.arl(displacement=4)
    with pytest.raises(UserError, match='less than the map, found 4 for a map of 4 x 4'):
        jax.eval_shape(lambda batch: tiny.stepper(too_far)(*state, batch, jax.random.key(0)), tiny.random_batch(2))
    with pytest.raises(UserError, match='less than the map, found 4 for a map of 4 x 4'):
        too_far.check((2, 16, 13, 3), 1)
    too_far.check((2, 17, 17, 3), 1)
    with pytest.raises(UserError, match='k-means: 16 vectors are fewer than 17 clusters'):
        many = (state[0], {**state[1], 'centroids': jnp.zeros((17, WIDTH))})
        _read_out(tiny.arl(num_clusters=17), many, [tiny.random_batch(1)], 0)


def test_a_config_describes_it():
    config = textures.get_config()
    own = {'num_clusters': 4, 'width': 11, 'displacement': 2, 'temperature': 0.5, 'negatives': 6, 'transformations': 'turn'}
    config.method = common.arl() | own
    method = build.method(config.to_dict())
    assert (method.num_clusters, method.negatives, method.contrast) == (4, 6, ContrastiveLoss(2, 0.5))
    assert method.model.heads == {'decoder': 11}
    assert method.views == Views(tuple(orderings.RASTER), 'random', 4, 'turn', sobel=False, common_taps_only=False)
    assert isinstance(method.critics, nn.Module)
    config.method = common.arl() | {'depth': 3}
    with pytest.raises(
        UserError, match=r"config\.method of 'arl': there is no 'depth', the names are candidates, common_taps_only, "
    ):
        build.method(config.to_dict())
    config.method.name = 'barl'
    with pytest.raises(UserError, match=r"config\.method\.name: there is no 'barl', the names are .*; did you mean 'arl'\?"):
        build.method(config.to_dict())
