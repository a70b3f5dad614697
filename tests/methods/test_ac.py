"""Autoregressive clustering as a whole: its gradient, its compilations, its heads, its prediction."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ar_seg_jax import orderings, sharding
from ar_seg_jax.epochs import Time
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.objectives.cluster_contrast import ClusterContrast
from ar_seg_jax.training import gradients, optimizer
from configs import common
from tests.support import feeds, tiny


@pytest.fixture(scope='module')
def state():
    """Parameters and extra, for every tiny.ac and images of three channels."""
    params, extra = jax.jit(tiny.ac().init)(jax.random.key(0), tiny.random_batch()['image'])
    # Larger weights in the decoder: scores of a fresh one are all but uniform, where every loss is nearly 0.
    decoder = jax.tree.map(lambda leaf: 3 * leaf, params['decoder'])
    return {**params, 'decoder': decoder}, extra


def _with_networks_of_their_own(method, extra, batch, names, scores=tiny.scores):
    """A compiled function of the parameters of two networks, one for each view: the loss with new extra, and both gradients."""

    def loss_of_two_networks(first, second):
        outputs = []
        for own, name in ((first, names[0]), (second, names[1])):
            (output,), updated = method.model.apply(
                {'params': own, **extra},
                batch['image'].astype(jnp.float32) / 255,
                [orderings.by_name(name)],
                train=True,
                mutable=['batch_stats'],
                method='scan',
            )
            outputs.append(scores(output['decoder'], 16, 16))
        return method.information(*outputs, batch.get('mask'))[0], updated

    return jax.jit(jax.value_and_grad(loss_of_two_networks, argnums=(0, 1), has_aux=True))


def test_the_gradient_is_the_sum_of_those_of_the_two_views(state):
    """Views are passed one by one here, with parameters of their own; the loss does not care which of the two comes first."""
    names = ('A1', 'zigzag_D4')
    method = tiny.ac(orderings=','.join(names), sampling='no_repetition')
    batch, (params, extra) = tiny.with_void(tiny.random_batch()), state
    (expected, updated), (first, second) = _with_networks_of_their_own(method, extra, batch, names)(params, params)
    (loss, (new_extra, metrics)), gradients = tiny.stepper(method)(params, extra, batch, jax.random.key(5))
    assert abs(loss) > 1e-3
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_allclose(metrics['mutual_information'], -loss, rtol=1e-6)
    tiny.assert_trees_close(gradients, jax.tree.map(jnp.add, first, second), rtol=1e-3)
    # One pass through the encoder serves both views, and its statistics move as far as in two passes of momentum 0.9.
    twice = jax.tree.map(lambda before, once: before + (1 - 0.9**2) / (1 - 0.9) * (once - before), dict(extra), updated)
    tiny.assert_trees_close(new_extra, twice, rtol=1e-4)
    changed = jax.tree.map(lambda new, old: bool((new != old).any()), new_extra, extra)
    assert all(jax.tree.leaves(changed))


@pytest.mark.parametrize('variant', ['F1', 'F2'])
def test_the_gradient_of_common_taps_leaves_out_those_that_one_view_masks(variant):
    """A masked tap is known here by its gradient, which is 0 in the view that masks it."""
    names = ('A1', 'B1')
    options = {'orderings': ','.join(names), 'sampling': 'no_repetition'}
    own, common = (tiny.ac({'variant': variant}, common_taps_only=only, **options) for only in (False, True))
    batch = tiny.random_batch(2)
    params, extra = jax.jit(own.init, compiler_options=tiny.QUICK)(jax.random.key(0), batch['image'])
    params = {**params, 'decoder': jax.tree.map(lambda leaf: 10 * leaf, params['decoder'])}  # far from uniform scores
    scores = lambda maps, *size: jax.nn.softmax(own.model.to_pixels(maps, *size, scanned=True))  # noqa: E731
    (expected, _), both = _with_networks_of_their_own(own, extra, batch, names, scores)(params, params)
    (loss, _), found = tiny.stepper(common)(params, extra, batch, jax.random.key(5))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    masked = [('block_0', 'conv_0')] + ([('stem', 'conv'), ('stem', 'down')] if variant == 'F1' else [])
    total = jax.tree.map(jnp.add, *both)
    for part, name in masked:
        first, second = (gradient[part][name]['kernel'] for gradient in both)
        seen = (first != 0).any((2, 3)) & (second != 0).any((2, 3))
        assert seen.sum() == 7 and (total[part][name]['kernel'] != 0).any((2, 3)).all()  # of 9, which one or the other view uses
        total[part][name]['kernel'] = total[part][name]['kernel'] * seen[:, :, None, None]
        assert not found[part][name]['kernel'][~np.asarray(seen)].any()
    tiny.assert_trees_close(found, total, rtol=1e-3)


@pytest.mark.parametrize('keep_unused', [False, True])
def test_taps_that_both_views_mask_move_by_momentum_only_unless_they_are_to_be_kept(state, keep_unused):
    """Two steps, with D3 for both views and then with A1, which looks the other way."""
    params, extra = state
    method, batch = tiny.ac(), tiny.random_batch()
    tx = optimizer.optimizer(**common.adam() | {'keep_unused': keep_unused}, steps=2).tx

    @functools.partial(jax.jit, compiler_options=tiny.QUICK)
    @jax.grad
    def gradient(params, ordering):
        options = {'train': True, 'mutable': ['batch_stats'], 'method': 'scan'}
        maps, _ = method.model.apply({'params': params, **extra}, batch['image'] / np.float32(255), [ordering] * 2, **options)
        first, second = (tiny.scores(one['decoder'], 16, 16) for one in maps)
        return method.information(first, jnp.roll(second, 1, axis=1))[0]

    stack = orderings.stack(('D3', 'A1'))
    steps = [gradient(params, orderings.choose(stack, jnp.int32(index))) for index in (0, 1)]
    updates, opt_state = tx.update(steps[0], tx.init(params), params)
    between = optax.apply_updates(params, updates)
    updates, _ = tx.update(steps[1], opt_state, between)
    first, second, update = (tree['block_0']['conv_0']['kernel'] for tree in (*steps, updates))
    masked = np.asarray((jnp.abs(first).max((2, 3)) > 0) & (jnp.abs(second).max((2, 3)) == 0))
    assert masked.any()
    sizes = np.abs(np.asarray(update))[masked] / common.adam()['learning_rate']
    assert sizes.max() == 0 if keep_unused else 0.6 < sizes.max() < 0.7


def test_one_compilation_serves_all_pairs_of_orderings(state):
    step, batch = tiny.stepper(tiny.ac(orderings='all')), tiny.random_batch()
    losses = [float(step(*state, batch, jax.random.key(seed))[0][0]) for seed in range(20)]
    assert step._cache_size() == 1
    assert np.isfinite(losses).all()
    assert len({round(loss, 6) for loss in losses}) > 10, 'the orderings have no effect'


def test_void_pixels_have_no_say_and_classes_neither(state):
    def loss_of(method):
        return jax.jit(
            lambda params, extra, batch: gradients.loss(method, params, extra, batch, key=jax.random.key(0), time=tiny.BEGINNING)[
                0
            ],
            compiler_options=tiny.QUICK,
        )

    loss, batch = loss_of(tiny.ac(orderings='A1,D3')), tiny.random_batch()
    unmasked, masked = loss(*state, batch), loss(*state, tiny.with_void(batch))
    assert abs(unmasked - masked) > 1e-4
    recoloured = {**batch, 'label': (batch['label'] + 1) % 3}
    np.testing.assert_array_equal(loss(*state, recoloured), unmasked)
    assert loss(*state, tiny.with_void(batch, below=16)) == 0
    unknown = {**batch, 'label': jnp.full_like(batch['label'], VOID)}
    np.testing.assert_array_equal(loss(*state, unknown), unmasked)


def test_scores_of_pixels_that_do_not_count_change_no_loss_and_get_no_gradient():
    method, batch, rng = tiny.ac(), tiny.with_void(tiny.random_batch()), np.random.default_rng(0)
    views = tuple(jax.nn.softmax(jnp.float32(3 * rng.normal(size=(8, 16, 16, 3)))) for _ in range(2))
    loss = lambda views: method.objective({'decoder': views}, batch, time=tiny.BEGINNING)[0]  # noqa: E731
    value, gradients = jax.value_and_grad(loss)(views)
    void = ~np.asarray(batch['mask'])
    assert not any(np.asarray(gradient)[void].any() for gradient in gradients)
    assert all(np.asarray(gradient)[~void].all() for gradient in gradients)
    elsewhere = tuple(jnp.where(batch['mask'][..., None], view, jnp.roll(view, 1, axis=0)) for view in views)
    np.testing.assert_allclose(loss(elsewhere), value, atol=1e-6)


def test_prediction_is_the_unmasked_network_with_running_statistics(state):
    """From the features on by hand: decoder, interpolation, softmax. Also where the size does not divide by the stride."""
    method, batch = tiny.ac(), tiny.random_batch(2)
    params, extra = state
    extra = jax.tree.map(lambda leaf: 0.3 * leaf - 0.1, extra)
    network = jax.jit(lambda image: method.model.apply({'params': params, **extra}, image, [None], method='scan'))
    for height, width, cells in ((16, 16, (4, 4)), (14, 11, (4, 3))):
        image = batch['image'][:, :height, :width]
        outputs = jax.jit(method.predict)(params, extra, image)
        (maps,) = network(np.asarray(image, np.float32) / 255)
        logits = np.asarray(maps['features']) @ params['decoder']['kernel'] + params['decoder']['bias'][None, None, None]
        np.testing.assert_allclose(outputs['scores'], tiny.scores(logits, height, width), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(outputs['scores'].sum(axis=-1), 1, rtol=1e-5)
        np.testing.assert_allclose(outputs['logits'], logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(outputs['features'], maps['features'], rtol=1e-4, atol=1e-6)
        assert np.ptp(outputs['scores']) > 0.1, 'scores that are all but uniform would hide an error'
        assert outputs['scores'].shape == (2, height, width, 3) and outputs['features'].shape == (2, *cells, 128)


@pytest.mark.parametrize('variant, sobel', [('F1', False), ('F2', True), ('F4', False)])
def test_a_step_keeps_the_structure_of_the_state(variant, sobel):
    method = tiny.ac({'variant': variant}, num_clusters=2, displacement=1, sobel=sobel)
    batch = tiny.random_batch(2, channels=4)
    params, extra = jax.eval_shape(method.init, jax.random.key(0), batch['image'])
    assert params['stem']['conv']['kernel'].shape[2] == 4 + 2 * sobel
    (_, (new_extra, _)), gradients = jax.eval_shape(tiny.stepper(method), params, extra, batch, jax.random.key(0))
    for before, after in ((params, gradients), (extra, new_extra)):
        assert jax.tree.structure(before) == jax.tree.structure(after)
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), before) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), after
        )


def test_orderings_and_sampling_are_checked_when_the_method_is_built():
    with pytest.raises(UserError, match="no ordering is called 'A3'; the names are A1, "):
        tiny.ac(orderings='A1,A3')
    with pytest.raises(UserError, match="sampling 'no_repetition' needs at least two orderings, found one"):
        tiny.ac(orderings='A1', sampling='no_repetition')


def test_the_loss_is_the_sum_of_those_of_both_heads_and_only_the_first_predicts(state):
    """The second head's scores by hand, from the features of each view."""
    method, batch = tiny.ac(auxiliary_clusters=5, orderings='D3'), tiny.random_batch(4)
    own, extra = jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), batch['image'])
    count, plain = (sum(leaf.size for leaf in jax.tree.leaves(params)) for params in (own, state[0]))
    assert count - plain == 128 * 5 + 5
    second = jax.tree.map(lambda leaf: 5 * leaf, own['auxiliary_decoder'])
    params = {**state[0], 'auxiliary_decoder': second}

    def scores(features):
        return tiny.scores(features @ second['kernel'] + second['bias'][None, None, None], 16, 16)

    @jax.jit
    def of_both_heads(image):
        views, _ = tiny.ac().model.apply(
            {'params': state[0], **extra},
            image,
            [orderings.by_name('D3')] * 2,
            train=True,
            mutable=['batch_stats'],
            method='scan',
        )
        first, _ = method.information(*(tiny.scores(view['decoder'], 16, 16) for view in views))
        other, _ = method.information(*(scores(view['features']) for view in views))
        return first, other

    first, other = of_both_heads(jnp.float32(batch['image']) / 255)
    (loss, (_, metrics)), gradients = tiny.stepper(method)(params, extra, batch, jax.random.key(0))
    assert min(abs(first), abs(other)) > 1e-3
    np.testing.assert_allclose(loss, first + other, rtol=1e-4)
    np.testing.assert_allclose(metrics['auxiliary_mutual_information'], -other, rtol=1e-4)
    assert float(jnp.abs(gradients['auxiliary_decoder']['kernel']).max()) > 1e-5
    predicted = jax.eval_shape(method.predict, params, extra, batch['image'])
    assert predicted['scores'].shape == (4, 16, 16, 3)


def _iic(**options):
    return tiny.method(common.iic() | {'auxiliary_clusters': 0} | options)


@pytest.mark.parametrize(('make', 'head'), [(tiny.ac, 'decoder'), (_iic, 'decoder_0')])
def test_shares_limit_the_entropy_that_is_rewarded_and_pixels_in_the_margin_have_no_say(make, head):
    logits = jax.random.normal(jax.random.key(0), (2, 12, 12, 3))
    p, q = jax.nn.softmax(2 * logits), jax.nn.softmax(3 * logits)
    batch = tiny.random_batch(2, side=12)
    known = {'displacement': 0, 'collapsed': True, 'entropy_weight': 1.0}

    def loss(p, **options):
        method = make(**known, **options)
        return method.objective({head: (p, q)}, batch, time=tiny.BEGINNING)[0]

    target = -sum(share * math.log(share) for share in (0.7, 0.2, 0.1))
    limited, _ = tiny.information(**known, entropy_target=target)(p, q)
    assert limited - loss(p) > 0.1
    np.testing.assert_allclose(loss(p, shares=(70.0, 20.0, 10.0)), limited, rtol=1e-5)
    near = jnp.ones((12, 12), bool).at[3:-3, 3:-3].set(False)[None, :, :, None]
    elsewhere = jnp.where(near, jnp.roll(p, 1, axis=0), p)
    np.testing.assert_allclose(loss(elsewhere, margin=3), loss(p, margin=3), rtol=1e-5)
    assert abs(loss(elsewhere) - loss(p)) > 1e-6


@pytest.mark.parametrize('shares', [(0.5, 0.5), (1.0, 0.0, 1.0), (1.0, float('nan'), 1.0)])
def test_shares_are_one_above_zero_for_each_cluster(shares):
    with pytest.raises(UserError, match=r'^method\.shares are 3 numbers above 0, one for each cluster'):
        tiny.ac(shares=shares)


def test_the_entropy_weight_goes_from_one_to_its_value():
    p, q = jax.nn.softmax(3 * jax.random.normal(jax.random.key(0), (2, 2, 6, 6, 3)))
    batch = tiny.random_batch(2, side=6)

    def loss(step, entropy_steps):
        method = tiny.ac(entropy_weight=0.5, entropy_steps=entropy_steps)
        return method.objective({'decoder': (p, q)}, batch, time=Time(jnp.int32(step), jnp.int32(0)))[0]

    for step, entropy_steps, weight in ((0, 10, 1.0), (4, 10, 0.8), (10, 10, 0.5), (25, 10, 0.5), (0, 0, 0.5)):
        expected, _ = tiny.information(displacement=2, entropy_weight=weight)(p, q)
        np.testing.assert_allclose(loss(step, entropy_steps), expected, rtol=1e-5)
    assert abs(loss(0, 10) - loss(4, 10)) > 0.1


def _with_regions(batch, size=4):
    """The batch with squares of `size` pixels, and a single pixel that is a region of its own."""
    side = batch['image'].shape[1]
    rows, columns = np.indices((side, side)) // size
    regions = np.broadcast_to(rows * (side // size) + columns, batch['label'].shape).astype(np.int32)
    regions = np.where((np.arange(side) == 5)[None, :, None] & (np.arange(side) == 6)[None, None], side * side - 1, regions)
    return {**batch, 'regions': jnp.asarray(regions)}


def test_with_regions_the_scores_of_both_heads_are_compared_region_by_region():
    """The joint as a loop over images and regions; pixels near borders and void ones are in none."""
    rng = np.random.default_rng(0)
    method = tiny.ac(regions=16, displacement=0, margin=2, auxiliary_clusters=3)
    batch = _with_regions(tiny.with_void(tiny.random_batch(2)))
    alike = 2 * rng.normal(size=(256, 3))[np.asarray(batch['regions'])]
    scores = [jax.nn.softmax(jnp.float32(alike + rng.normal(size=alike.shape))) for _ in range(4)]
    views = {'decoder': tuple(scores[:2]), 'auxiliary_decoder': tuple(scores[2:])}
    loss, metrics = method.objective(views, batch, time=tiny.BEGINNING)
    counted = np.array(batch['mask'])
    counted[:, :2] = counted[:, -2:] = counted[:, :, :2] = counted[:, :, -2:] = False
    total = 0
    for p, q in np.asarray(scores).reshape(2, 2, 2, 16, 16, 3):
        joint = np.zeros((3, 3))
        for image, number in np.ndindex(2, 256):
            inside = (np.asarray(batch['regions'][image]) == number) & counted[image]
            if inside.any():
                joint += inside.sum() * np.outer(p[image][inside].mean(0), q[image][inside].mean(0))
        joint = (joint + joint.T) / 2 / counted.sum()
        total -= np.sum(joint * np.log(joint / np.outer(joint.sum(0), joint.sum(1))))
    np.testing.assert_allclose(loss, total, rtol=1e-4)
    assert metrics['mutual_information'] > 0.02


def test_the_contrast_is_that_of_the_features_and_clusters_of_cells_which_count_where_their_pixel_does():
    method = tiny.ac({'variant': 'F4'}, contrast=0.5, temperature=0.2, transformations='flip')
    batch = tiny.with_void(tiny.random_batch(4))
    params, extra = jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), batch['image'])
    outputs, _ = jax.jit(lambda *given: method.forward(*given, key=jax.random.key(1), time=tiny.BEGINNING))(params, extra, batch)
    features, clusters = outputs['features'], outputs['clusters_of_cells']
    assert features[0].shape == (4, 4, 4, 128) and clusters[0].shape == (4, 4, 4, 3)
    for one, of_cells in zip(features, clusters, strict=True):  # each where the other is
        logits = one @ params['decoder']['kernel'] + params['decoder']['bias'][None, None, None]
        np.testing.assert_allclose(jax.nn.softmax(logits), of_cells, rtol=1e-3, atol=1e-5)
    counted = batch['mask'][:, ::4, ::4]  # cell i is at pixel 4 i
    expected, bound = ClusterContrast(0.2)(features, clusters, counted)
    information, _ = method.information(*outputs['decoder'], batch['mask'])
    loss, metrics = method.objective(outputs, batch, time=tiny.BEGINNING)
    np.testing.assert_allclose(loss, information + 0.5 * expected, rtol=1e-4)
    np.testing.assert_allclose(metrics['contrast'], bound, rtol=1e-5)
    inner = dataclasses.replace(method, margin=5).objective(outputs, batch, time=tiny.BEGINNING)[1]['contrast']
    within = jnp.abs(4 * jnp.arange(4) - 7.5) < 3
    counted = counted & within[None, :, None] & within[None, None]
    assert 0 < counted.sum() < 16 * 4
    np.testing.assert_allclose(inner, ClusterContrast(0.2)(features, clusters, counted)[1], rtol=1e-5)


@pytest.mark.parametrize('options', [{'regions': 16, 'displacement': 1}, {'contrast': 1.0}])
def test_eight_devices_compute_the_regions_and_the_contrast_of_one(options):
    """The vectors of clusters are those of the images of all devices."""
    method, batch = tiny.ac(transformations='turn', **options), _with_regions(tiny.random_batch())
    start = jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), batch['image'])
    step, key = tiny.stepper(method), jax.random.key(5)
    (expected, _), gradients_of_one = step(*start, batch, key)
    mesh = feeds.mesh_of(8)
    start, key = (jax.device_put(one, sharding.replicated(mesh)) for one in (start, key))
    with jax.set_mesh(mesh):
        (loss, (_, metrics)), found = step(*start, jax.device_put(batch, sharding.split_batch(mesh)), key)
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-6)  # nats; before training it is nearly 0
    tiny.assert_trees_close(found, gradients_of_one, rtol=1e-2)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((metrics, found)))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'regions': -1}, r'method\.regions is a number of pixels, or 0 for no superpixels; found -1'),
        ({'contrast': -0.5}, r'method\.contrast is a weight of at least 0, found -0\.5'),
        ({'contrast': math.inf}, r'method\.contrast is a weight of at least 0, found inf'),
        ({'entropy_weight': math.nan}, r'method\.entropy_weight is a weight of at least 0, found nan'),
        ({'entropy_steps': -5}, r'method\.entropy_steps is a number of steps, at least 0; found -5'),
        ({'temperature': 0.0}, r'method\.temperature is above 0, found 0\.0'),
    ],
)
def test_regions_and_contrast_have_values_that_can_be(options, message):
    with pytest.raises(UserError, match=rf'^{message}$'):
        tiny.ac(**options)
