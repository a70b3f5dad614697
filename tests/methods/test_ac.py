"""Autoregressive clustering as a whole: its gradient, its devices, its compilations, its inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ar_seg_jax.methods.views import Views, append_sobel
from scipy import ndimage

from ar_seg_jax import orderings
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.methods.ac import AC
from ar_seg_jax.models.autoregressive import Autoregressive
from ar_seg_jax.objectives.mutual_information import InformationLoss
from ar_seg_jax.training import gradients

STEP = jnp.zeros((), jnp.int32)
QUICK = {'xla_backend_optimization_level': 0}  # for programs that run a few times on tiny maps


def random_batch(size=8, side=16, channels=3):
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(size, side, side, channels)), (0, 2, 2, 0))
    image = np.uint8(np.clip(127 + 400 * image, 0, 255))
    label = rng.integers(0, 3, (size, side, side), np.uint8)
    return {'image': jnp.asarray(image), 'label': jnp.asarray(label)}


def with_void(batch, below=4):
    """The batch with the first `below` rows of every image void."""
    return {**batch, 'label': batch['label'].at[:, :below].set(VOID)}


def tiny_ac(mask_void=False, auxiliary_clusters=0, **views):
    model = Autoregressive(num_clusters=3, auxiliary_clusters=auxiliary_clusters, variant='F2', blocks=1, output_stride=4)
    return AC(model, InformationLoss(displacement=2), Views(**views), mask_void=mask_void)


@pytest.fixture(scope='module')
def state():
    """Parameters and extra, for every tiny_ac and images of three channels."""
    params, extra = jax.jit(tiny_ac().init)(jax.random.key(0), random_batch()['image'])
    # Larger weights in the decoder: scores of a fresh one are all but uniform, where every loss is nearly 0.
    decoder = jax.tree.map(lambda leaf: 3 * leaf, params['decoder'])
    return {**params, 'decoder': decoder}, extra


def stepper(method):
    """Loss, new extra, metrics and gradients of one step, compiled."""
    return jax.jit(
        lambda params, extra, batch, key: jax.value_and_grad(
            lambda params: gradients.loss(method, params, extra, batch, key=key, step=STEP), has_aux=True
        )(params),
        compiler_options=QUICK,
    )


def assert_trees_close(found, expected, rtol):
    """Leaf by leaf, entries near zero relative to the largest of the leaf: sums in another order cancel differently.

    The bias of the convolution before the batch norm has no gradient but rounding, so that the largest entry of the whole
    tree counts too, much less.
    """
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    for array, reference in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        atol = max(1e-4 * float(jnp.abs(reference).max()), 1e-6 * largest)
        np.testing.assert_allclose(array, reference, rtol=rtol, atol=atol)


def test_the_gradient_is_the_sum_of_those_of_the_two_views(state):
    """Views are passed one by one here, with parameters of their own; the loss does not care which of the two comes first."""
    names = ('A1', 'zigzag_D4')
    method, batch = tiny_ac(orderings=names, sampling='no_repetition', mask_void=True), with_void(random_batch())
    params, extra = state

    def loss_of_two_networks(first, second):
        outputs = []
        for own, name in ((first, names[0]), (second, names[1])):
            (output,), updated = method.model.apply(
                {'params': own, **extra},
                batch['image'].astype(jnp.float32) / 255,
                [orderings.by_name(name)],
                train=True,
                mutable=['batch_stats'],
            )
            outputs.append(output['scores'])
        mask = jnp.ones((8, 16, 16)).at[:, :4].set(0)
        return method.information(*outputs, mask)[0], updated

    (expected, updated), (first, second) = jax.jit(jax.value_and_grad(loss_of_two_networks, argnums=(0, 1), has_aux=True))(
        params, params
    )
    (loss, (new_extra, metrics)), gradients = stepper(method)(params, extra, batch, jax.random.key(5))
    assert abs(loss) > 1e-3
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_allclose(metrics['mutual_information'], -loss, rtol=1e-6)
    assert_trees_close(gradients, jax.tree.map(jnp.add, first, second), rtol=1e-3)
    # One pass through the encoder serves both views, and its statistics move as far as in two passes of momentum 0.9.
    twice = jax.tree.map(lambda before, once: before + (1 - 0.9**2) / (1 - 0.9) * (once - before), dict(extra), updated)
    assert_trees_close(new_extra, twice, rtol=1e-4)
    changed = jax.tree.map(lambda new, old: bool((new != old).any()), new_extra, extra)
    assert all(jax.tree.leaves(changed))


@pytest.fixture(scope='module')
def all_orderings():
    """One compiled step of a model that draws from all sixteen orderings."""
    return stepper(tiny_ac(orderings=tuple(orderings.ORDERINGS)))


def test_one_compilation_serves_all_pairs_of_orderings(all_orderings, state):
    batch = random_batch()
    losses = [float(all_orderings(*state, batch, jax.random.key(seed))[0][0]) for seed in range(20)]
    assert all_orderings._cache_size() == 1
    assert np.isfinite(losses).all()
    assert len({round(loss, 6) for loss in losses}) > 10, 'the orderings have no effect'


def test_eight_devices_compute_what_one_does(all_orderings, state):
    batch = random_batch()
    mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
    over_data, everywhere = (jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in (('data',), ()))
    sharded = jax.device_put(batch, over_data)
    assert len({shard.device for shard in sharded['image'].addressable_shards}) == 8
    key = jax.random.key(3)
    (expected, (expected_extra, expected_metrics)), expected_gradients = all_orderings(*state, batch, key)
    (loss, (new_extra, metrics)), gradients = all_orderings(
        *jax.device_put(state, everywhere), sharded, jax.device_put(key, everywhere)
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert_trees_close(metrics, expected_metrics, rtol=1e-4)
    assert_trees_close(new_extra, expected_extra, rtol=1e-4)
    assert_trees_close(gradients, expected_gradients, rtol=1e-2)
    # Statistics of the shard of one device would be another number: the comparison above can tell.
    shard = {name: array[:1] for name, array in batch.items()}
    (_, (shard_extra, _)), _ = all_orderings(*state, shard, key)
    means, shard_means = (jax.tree.leaves(tree)[0] for tree in (expected_extra, shard_extra))
    assert float(jnp.abs(means - shard_means).max()) > 1e-3 * float(jnp.abs(means).max())


def test_void_pixels_have_no_say_and_classes_neither(state):
    method = tiny_ac(orderings=('A1', 'D3'), mask_void=True)
    loss = jax.jit(
        lambda params, extra, batch: gradients.loss(method, params, extra, batch, key=jax.random.key(0), step=STEP)[0],
        compiler_options=QUICK,
    )
    batch = random_batch()
    unmasked, masked = loss(*state, batch), loss(*state, with_void(batch))
    assert abs(unmasked - masked) > 1e-4
    recoloured = {**batch, 'label': (batch['label'] + 1) % 3}
    np.testing.assert_array_equal(loss(*state, recoloured), unmasked)
    assert loss(*state, with_void(batch, below=16)) == 0
    ignorant = tiny_ac(orderings=('A1', 'D3'))
    found = jax.jit(lambda batch: gradients.loss(ignorant, *state, batch, key=jax.random.key(0), step=STEP)[0])(with_void(batch))
    np.testing.assert_allclose(found, unmasked, rtol=1e-5)


def test_prediction_is_the_unmasked_network_with_running_statistics(state):
    method, batch = tiny_ac(), random_batch(2)
    params, extra = state
    extra = jax.tree.map(lambda leaf: leaf + 0.5, extra)
    outputs = jax.jit(method.predict)(params, extra, batch['image'])
    image = np.asarray(batch['image'], np.float32) / 255
    (expected,) = jax.jit(lambda image: method.model.apply({'params': params, **extra}, image, [None]))(image)
    np.testing.assert_allclose(outputs['scores'], expected['scores'], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(outputs['scores'].sum(axis=-1), 1, rtol=1e-5)
    assert outputs['scores'].shape == (2, 16, 16, 3) and outputs['features'].shape == (2, 4, 4, 128)


@pytest.mark.parametrize('variant, sobel', [('F1', False), ('F2', True), ('F4', False)])
def test_a_step_keeps_the_structure_of_the_state(variant, sobel):
    model = Autoregressive(num_clusters=2, variant=variant, blocks=1, output_stride=4)
    method, batch = AC(model, InformationLoss(1), Views(sobel=sobel)), random_batch(2, channels=4)
    params, extra = jax.eval_shape(method.init, jax.random.key(0), batch['image'])
    assert params['stem']['conv']['kernel'].shape[2] == 4 + 2 * sobel
    (_, (new_extra, _)), gradients = jax.eval_shape(stepper(method), params, extra, batch, jax.random.key(0))
    for before, after in ((params, gradients), (extra, new_extra)):
        assert jax.tree.structure(before) == jax.tree.structure(after)
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), before) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), after
        )


@pytest.mark.parametrize('channels', [3, 4])
def test_sobel_gradients_are_those_of_scipy(channels):
    image = np.random.default_rng(0).uniform(size=(2, 7, 9, channels)).astype(np.float32)
    found = append_sobel(jnp.asarray(image))
    assert found.shape == (2, 7, 9, channels + 2)
    np.testing.assert_array_equal(found[..., :channels], image)
    grey = 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]
    for index, axis in ((-2, 2), (-1, 1)):
        # scipy smooths along every other axis, the batch included; one image at a time it is the 3x3 kernel.
        expected = np.stack([ndimage.sobel(one, axis=axis - 1, mode='constant') for one in grey])
        np.testing.assert_allclose(found[..., index], expected, rtol=1e-4, atol=1e-5)


def test_orderings_and_sampling_are_checked_when_the_method_is_built():
    with pytest.raises(ValueError, match="'A3'"):
        tiny_ac(orderings=('A1', 'A3'))
    with pytest.raises(ValueError, match='at least two'):
        tiny_ac(orderings=('A1',), sampling='no_repetition')


def test_the_loss_is_the_sum_of_those_of_both_heads_and_only_the_first_predicts(state):
    """The second head's scores by hand, from the features of each view."""
    method, batch = tiny_ac(auxiliary_clusters=5, orderings=('D3',)), random_batch(4)
    own, extra = jax.jit(method.init, compiler_options=QUICK)(jax.random.key(0), batch['image'])
    count, plain = (sum(leaf.size for leaf in jax.tree.leaves(params)) for params in (own, state[0]))
    assert count - plain == 128 * 5 + 5
    second = jax.tree.map(lambda leaf: 5 * leaf, own['auxiliary_decoder'])
    params = {**state[0], 'auxiliary_decoder': second}

    def scores(features):
        logits = features @ second['kernel'] + second['bias'][None, None, None]
        return jax.nn.softmax(jax.image.resize(logits, (4, 16, 16, 5), 'bilinear'))

    views, _ = jax.jit(
        lambda image: tiny_ac().model.apply(
            {'params': state[0], **extra}, image, [orderings.by_name('D3')] * 2, train=True, mutable=['batch_stats']
        ),
        compiler_options=QUICK,
    )(jnp.float32(batch['image']) / 255)
    first, _ = method.information(*(view['scores'] for view in views))
    other, _ = method.information(*(scores(view['features']) for view in views))
    (loss, (_, metrics)), gradients = stepper(method)(params, extra, batch, jax.random.key(0))
    assert min(abs(first), abs(other)) > 1e-3
    np.testing.assert_allclose(loss, first + other, rtol=1e-4)
    np.testing.assert_allclose(metrics['auxiliary_mutual_information'], -other, rtol=1e-4)
    assert float(jnp.abs(gradients['auxiliary_decoder']['kernel']).max()) > 1e-5
    predicted = jax.eval_shape(method.predict, params, extra, batch['image'])
    assert predicted['scores'].shape == (4, 16, 16, 3)
