"""DeepCluster against loops: its labels, its heads, whitening, and the clusters it is scored by."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from ar_seg_jax import build
from ar_seg_jax.errors import UserError
from ar_seg_jax.training import gradients, optimizer
from ar_seg_jax.training.checkpoint import Checkpoints
from configs import common
from tests.support import cells, feeds, tiny

KEY = jax.random.key(1)
SMALL = {'colours': 'none', 'vectors_of_image': 0, 'iterations': 3, 'initial_batches': 1, 'training_clusters': 5}


def _made(monkeypatch, **options):
    monkeypatch.setitem(build.MODELS, 'cells', cells.Cells)
    return build.method({'method': common.deep_cluster() | SMALL | options, 'model': {'name': 'cells'}})


def _state(method, batch):
    """After a refresh; with a student that has moved on from the teacher."""
    state = method.init(jax.random.key(0), batch['image'])
    params, extra = method.refresh(*state, iter([batch]), key=KEY, time=tiny.BEGINNING)
    other, _ = method.init(jax.random.key(5), batch['image'])
    return {**params, 'network': other['network']}, extra


def _loss(method):
    return jax.jit(functools.partial(gradients.loss, method, time=tiny.BEGINNING), compiler_options=tiny.QUICK)


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize('components', [0, 3])
@pytest.mark.parametrize(('head', 'balance'), [('fresh', 'inverse'), ('centroids', 'frequency'), ('fresh', 'none')])
def test_the_loss_is_that_of_a_loop(monkeypatch, head, balance, components):
    method = _made(monkeypatch, head=head, balance=balance, pca_whiten=components)
    batch = tiny.random_batch(3)
    params, extra = _state(method, batch)
    crops = method.draw(extra, batch['image']).crops
    centroids, sizes = (np.asarray(array) for array in extra['clusters']['first'])

    def embedded(weights):
        vectors = cells.by_hand(weights, batch['image'], crops, 'first', length=None)
        if components:
            vectors = (vectors - np.asarray(extra['whitening'].mean)) @ np.asarray(extra['whitening'].matrix)
        return _unit(vectors)

    classes = cells.nearest(centroids, embedded(extra['teacher']['params']))
    assert centroids.shape == (5, components or 4)
    np.testing.assert_array_equal(np.bincount(classes.ravel(), minlength=5), sizes)  # what is labelled is what was clustered
    weights = {'none': np.ones(5), 'frequency': sizes, 'inverse': 1 / np.maximum(sizes, 1)}[balance]
    if head == 'centroids':
        assert 'head' not in params and method.restarted == ()
        logits = embedded(params['network']) @ centroids.T
    else:
        kernel, bias = (np.asarray(params['head'][name]) for name in ('kernel', 'bias'))
        logits = cells.by_hand(params['network'], batch['image'], crops, 'first') @ kernel + bias
    expected = cells.label_entropy(logits, classes, weights, np.ones(classes.shape, bool))
    loss, (_, metrics) = _loss(method)(params, extra, batch, key=KEY)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    shares = sizes[sizes > 0] / sizes.sum()
    np.testing.assert_allclose(metrics['label_entropy'], -np.sum(shares * np.log(shares)), rtol=1e-5)


def test_whitening_is_that_of_scikit_learn(monkeypatch):
    method, batch = _made(monkeypatch, pca_whiten=2), tiny.random_batch(6)
    _, extra = _state(method, batch)
    crops = method.draw(extra, batch['image']).crops
    vectors = cells.by_hand(extra['teacher']['params'], batch['image'], crops, 'first', length=None).reshape(-1, 4)
    expected = _unit(PCA(2, whiten=True).fit_transform(vectors))
    found = _unit((vectors - np.asarray(extra['whitening'].mean)) @ np.asarray(extra['whitening'].matrix))
    np.testing.assert_allclose(found * np.sign((found * expected).sum(0)), expected, atol=1e-2)


def test_a_new_classifier_is_small_and_has_no_bias(monkeypatch):
    method, batch = _made(monkeypatch, training_clusters=1000, num_clusters=3), tiny.random_batch(2)
    params, _ = method.init(KEY, batch['image'])
    other, _ = method.init(jax.random.key(2), batch['image'])
    kernel = np.asarray(params['head']['kernel'])
    assert kernel.shape == (4, 1000) and (kernel != np.asarray(other['head']['kernel'])).all()
    np.testing.assert_allclose((kernel.mean(), kernel.std()), (0, 0.01), atol=5e-4)
    assert not np.asarray(params['head']['bias']).any()


def test_later_batches_move_the_clusters_and_a_refresh_draws_another_classifier(monkeypatch):
    method, batch = _made(monkeypatch), tiny.random_batch()
    state = method.init(KEY, batch['image'])
    halves = [{name: array[start : start + 4] for name, array in batch.items()} for start in (0, 4)]
    first, one = method.refresh(*state, iter(halves[:1]), key=KEY, time=tiny.BEGINNING)
    _, both = method.refresh(*state, iter(halves), key=KEY, time=tiny.BEGINNING)
    assert float(one['clusters']['first'].sizes.sum()) == 4 * 64
    assert float(both['clusters']['first'].sizes.sum()) == 8 * 64
    assert bool((both['clusters']['first'].centroids != one['clusters']['first'].centroids).any())
    again, _ = method.refresh(*state, iter(halves[:1]), key=jax.random.key(7), time=tiny.BEGINNING)
    assert bool((again['head']['kernel'] != first['head']['kernel']).all())


def test_a_run_that_stops_in_the_middle_of_an_epoch_goes_on_with_the_same_bits(monkeypatch, tmp_path):
    """Three batches are an epoch; it stops after one of the second epoch. Labels and classifier are those of its beginning."""
    method = _made(monkeypatch)

    def batch(index):
        image = np.random.default_rng(index).integers(0, 256, (4, 16, 16, 3), np.uint8)
        return {'image': image, 'label': np.zeros((4, 16, 16), np.uint8)}

    tx = optimizer.optimizer(**common.adam(), steps=6, restarted=method.restarted)
    data = feeds.Numbered(batch, feeds.mesh_of(1))

    def trained(state, steps):
        task = feeds.task(method, tx, data)
        step = task.compiled_step()
        for number, placed in zip(steps, data.placed(steps.start), strict=False):
            state = task.refreshed(state, iter) if task.refreshes(number) else state
            state, _, _ = step(state, placed)
        return state

    begun = trained(feeds.task(method, tx, data).initial_state(), range(4))
    checkpoints = Checkpoints(tmp_path / 'checkpoints', writable=True)
    checkpoints.save(begun)
    checkpoints.close()
    restored = Checkpoints(tmp_path / 'checkpoints').restore(feeds.task(method, tx, data).shapes())
    expected = trained(begun, range(4, 6))
    found = trained(restored, range(4, 6))
    jax.tree.map(np.testing.assert_array_equal, (found.params, found.opt_state), (expected.params, expected.opt_state))
    assert int(found.step) == 6 and int(found.skipped) == 0


@pytest.mark.parametrize('count', [5, 64])
def test_places_are_drawn_from_those_that_count(monkeypatch, count):
    """Half of the places count: with five of an image all that are drawn do, with all of them half do."""
    method, batch = _made(monkeypatch, vectors_of_image=count, smallest_crop=1.0), tiny.random_batch(4)
    batch = tiny.with_void(batch, below=8)
    _, extra = _state(method, batch)
    assert float(extra['clusters']['first'].sizes.sum()) == 4 * min(count, 32)


def test_it_is_scored_by_clusters_of_their_own(monkeypatch):
    method, batch = _made(monkeypatch, num_clusters=3), tiny.random_batch(4)
    params, extra = _state(method, batch)
    read = method.readout(params, extra, iter([batch]), key=KEY)
    assert read['centroids'].shape == (3, 4) and read['clusters']['first'].centroids.shape == (5, 4)
    outputs = method.predict(params, read, batch['image'])
    distances = np.linalg.norm(np.asarray(outputs['logits'])[..., None, :] - np.asarray(read['centroids']), axis=-1)
    np.testing.assert_array_equal(outputs['scores'][:, ::2, ::2].argmax(-1), distances.argmin(-1))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'training_clusters': 1}, r'method\.training_clusters is 2 to 1000, or 0 for num_clusters; found 1'),
        ({'pca_whiten': -1}, r'method\.pca_whiten is a number of components, or 0 for none; found -1'),
        ({'head': 'new'}, r"config\.method\.head is one of fresh, centroids; found 'new'"),
        ({'pca_whiten': 9}, r'method\.pca_whiten is at most the 4 channels that are clustered, found 9'),
    ],
)
def test_what_cannot_be_is_explained(monkeypatch, options, message):
    with pytest.raises(UserError, match=message):
        _made(monkeypatch, **options).init(KEY, tiny.random_batch(1)['image'])


def test_as_many_clusters_are_learned_as_predicted_where_nothing_else_is_said(monkeypatch):
    assert _made(monkeypatch, training_clusters=0, num_clusters=7).training_clusters == 7


def test_initial_batches_move_the_statistics_before_clusters_are_sought():
    """As passes of training do, one after the other; those of the other batches do not. Then the teacher sees through them."""
    method = tiny.method(common.deep_cluster() | SMALL | {'width': 5, 'initial_batches': 2}, {'variant': 'F4'})
    images = [jnp.asarray(np.random.default_rng(number).integers(0, 256, (2, 16, 16, 3), np.uint8)) for number in range(3)]
    batches = [{'image': image, 'label': image[..., 0]} for image in images]
    params, extra = jax.jit(method.init, compiler_options=tiny.QUICK)(KEY, images[0])
    _, after = method.refresh(params, extra, iter(batches), key=KEY, time=tiny.BEGINNING)

    variables = {'params': params['network'], 'batch_stats': extra['batch_stats']['network']}
    for image in images[:2]:
        view = method.views.first(method.model, image, method.draw(after, image))
        variables |= method.model.apply(variables, view, train=True, mutable=['batch_stats'])[1]
    tiny.assert_trees_close(after['batch_stats']['network'], variables['batch_stats'], rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, after['teacher']['batch_stats'], after['batch_stats']['network'])
    assert float(after['clusters']['first'].sizes.sum()) == 3 * 2 * 16

    view = method.views.first(method.model, images[0], method.draw(after, images[0]))
    vectors = _unit(np.asarray(method.model.apply(variables, view)['projection']))
    outputs, _ = method.forward(params, after, batches[0], key=KEY, time=tiny.BEGINNING)
    expected = np.bincount(cells.nearest(after['clusters']['first'].centroids, vectors).ravel(), minlength=5)
    np.testing.assert_array_equal(outputs['labels'].counts.sum(0), expected)


def test_the_state_is_that_of_a_training():
    """Of a network with statistics: they move, the teacher does not."""
    method, batch = tiny.method(common.deep_cluster() | SMALL | {'width': 5}, {'variant': 'F4'}), tiny.random_batch(2)
    params, extra = jax.jit(method.init, compiler_options=tiny.QUICK)(KEY, batch['image'])
    _, (after, _) = _loss(method)(params, extra, batch, key=KEY)
    moved = jax.tree.map(lambda one, other: bool((one != other).any()), after, extra)
    assert all(jax.tree.leaves(moved['batch_stats'])) and jnp.asarray(jax.tree.leaves(moved['batch_stats'])).size
    assert not any(jax.tree.leaves({name: part for name, part in moved.items() if name != 'batch_stats'}))
