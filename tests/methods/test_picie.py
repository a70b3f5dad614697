"""PiCIE against loops: its views, labels, loss; and that clusters are sought of what is learned from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax import build
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import BATCH_STATS
from ar_seg_jax.training import gradients
from configs import common, textures
from tests.support import cells, tiny

KEY = jax.random.key(1)
SMALL = {'colours': 'none', 'vectors_of_image': 0, 'iterations': 3, 'initial_batches': 2}


def _made(monkeypatch, **options):
    monkeypatch.setitem(build.MODELS, 'cells', cells.Cells)
    return build.method({'method': common.picie() | SMALL | options, 'model': {'name': 'cells'}})


def _state(method, batch):
    """With a student that is not the teacher, and clusters of different sizes."""
    _, extra = method.init(jax.random.key(0), batch['image'])
    other, _ = method.init(jax.random.key(5), batch['image'])
    clusters = {
        name: found._replace(sizes=jnp.arange(1.0, 1 + len(found.sizes)), centroids=found.centroids * 0.7)
        for name, found in extra['clusters'].items()
    }
    return other, {**extra, 'clusters': clusters}


def _compiled(function, method):
    return jax.jit(functools.partial(function, method, time=tiny.BEGINNING), compiler_options=tiny.QUICK)


@pytest.mark.parametrize('void', [False, True])
@pytest.mark.parametrize(
    ('scores', 'balance', 'auxiliary'), [('cosine', 'frequency', 0), ('dot', 'none', 0), ('cosine', 'inverse', 5)]
)
def test_the_loss_is_that_of_a_loop(monkeypatch, scores, balance, auxiliary, void):
    method = _made(monkeypatch, scores=scores, balance=balance, auxiliary_clusters=auxiliary)
    batch = tiny.random_batch(3)
    batch = tiny.with_void(batch, below=7) if void else batch
    params, extra = _state(method, batch)
    crops = method.draw(extra, batch['image']).crops
    views = ('first', 'second')
    learned, labelled = (
        {view: cells.by_hand(weights, batch['image'], crops, view) for view in views}
        for weights in (params['network'], extra['teacher']['params'])
    )
    counted = np.ones((3, 8, 8), bool)
    if void:
        tops, heights = np.asarray(crops.top)[:, None], np.asarray(crops.height)[:, None]
        rows = np.round((np.arange(0, 16, 2)[None] + 0.5) * heights + tops * 16 - 0.5)
        counted = np.broadcast_to((rows >= 7)[..., None], (3, 8, 8))

    totals = {}
    for level, count in (('main', 3), ('auxiliary', auxiliary)):
        if not count:
            continue
        totals[level] = 0.0
        for other in views:
            centroids, sizes = (np.asarray(array) for array in extra['clusters'][f'{level} of the {other} view'])
            assert len(centroids) == count
            shares = sizes / sizes.sum()
            weights = {'none': np.ones(count), 'frequency': shares, 'inverse': 1 / shares}[balance]
            classes = cells.nearest(centroids, labelled[other])
            for one in views:
                products = learned[one] @ centroids.T
                distances = 1 - products / np.linalg.norm(centroids, axis=1)
                logits = products if scores == 'dot' else -distances
                totals[level] += cells.label_entropy(logits, classes, weights, counted) / 4
    expected = totals['main']
    if auxiliary:
        both = np.log(3) + np.log(auxiliary)
        expected = np.log(auxiliary) / both * totals['main'] + np.log(3) / both * totals['auxiliary']

    loss, (new_extra, metrics) = _compiled(gradients.loss, method)(params, extra, batch, key=KEY)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_allclose((metrics['within'] + metrics['cross']) / 2, totals['main'], rtol=1e-4)
    counts = [
        np.bincount(cells.nearest(extra['clusters'][f'main of the {view} view'].centroids, labelled[view])[counted], minlength=3)
        for view in views
    ]
    np.testing.assert_allclose(metrics['empty_clusters'], np.mean([count == 0 for count in counts]), rtol=1e-6)
    assert jax.tree.all(jax.tree.map(lambda one, other: bool((one == other).all()), new_extra, extra))


@pytest.mark.parametrize('colours', ['none', 'paper'])
def test_what_is_clustered_is_what_is_labelled(monkeypatch, colours):
    """After k-means of one batch the sizes of the clusters are the counts of its labels: the same colours, parts and weights."""
    method, batch = _made(monkeypatch, colours=colours, auxiliary_clusters=4), tiny.with_void(tiny.random_batch(4))
    params, extra = _state(method, batch)
    _, after = method.refresh(params, extra, iter([batch]), key=KEY, time=tiny.BEGINNING)
    assert jax.tree.all(
        jax.tree.map(lambda one, other: bool((one == other).all()), after['teacher']['params'], params['network'])
    )
    outputs, _ = jax.jit(functools.partial(method.forward, time=tiny.BEGINNING))(params, after, batch, key=KEY)
    for level in ('main', 'auxiliary'):
        for view in ('first', 'second'):
            found = after['clusters'][f'{level} of the {view} view']
            np.testing.assert_array_equal(outputs[level]['labels'][view].counts.sum(0), found.sizes)
            assert 0 < float(found.sizes.sum()) < 4 * 64
    assert (jax.random.key_data(KEY) != after['epoch_key']).any()
    _, again = method.refresh(params, after, iter([batch]), key=jax.random.key(9), time=tiny.BEGINNING)
    crops, others = (method.draw(each, batch['image']).crops.top for each in (after, again))
    assert (crops != others).all()


def test_void_is_neither_clustered_nor_learned_from(monkeypatch):
    method, batch = _made(monkeypatch), tiny.random_batch(4)
    batch = {**batch, 'mask': jnp.zeros((4, 16, 16), bool).at[:2].set(True)}
    params, extra = _state(method, batch)

    def found(batch):
        _, after = method.refresh(params, extra, iter([batch]), key=KEY, time=tiny.BEGINNING)
        return after['clusters'], _compiled(gradients.loss, method)(params, extra, batch, key=KEY)[0]

    changed = {**batch, 'image': batch['image'].at[2:].set(7)}
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5), found(changed), found(batch))


def test_parts_of_a_batch_have_one_loss(monkeypatch):
    """The network has no statistics, and so all numbers are those of the undivided batch."""
    method, batch = _made(monkeypatch), tiny.with_void(tiny.random_batch())
    params, extra = _state(method, batch)
    parts = {name: array.reshape(2, 4, *array.shape[1:]) for name, array in batch.items()}
    (loss, (_, metrics)), found = _compiled(gradients.of_parts, method)(params, extra, parts, key=KEY)
    (expected, (_, whole)), gradient = _compiled(gradients.of_batch, method)(params, extra, batch, key=KEY)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6), metrics, whole)
    tiny.assert_trees_close(found, gradient, rtol=1e-3)


def test_predictions_are_the_nearest_of_what_was_read_out(monkeypatch):
    method, batch = _made(monkeypatch), tiny.random_batch(4)
    params, extra = _state(method, batch)
    extra = method.readout(params, extra, iter([batch]), key=KEY)
    outputs = method.predict(params, extra, batch['image'])
    kernel, bias = (np.asarray(params['network']['features'][name]) for name in ('kernel', 'bias'))
    vectors = np.asarray(batch['image'][:, ::2, ::2]) / 255 @ kernel + bias
    centroids = np.asarray(extra['centroids'])
    cosines = (
        vectors / np.linalg.norm(vectors, axis=-1, keepdims=True) @ (centroids / np.linalg.norm(centroids, axis=1)[:, None]).T
    )
    np.testing.assert_array_equal(outputs['scores'][:, ::2, ::2].argmax(-1), cosines.argmax(-1))
    np.testing.assert_allclose(np.linalg.norm(outputs['logits'], axis=-1), 1, rtol=1e-4)


def test_bfloat16_clusters_and_compares_in_float32():
    config = textures.get_config()
    config.model.update(dtype='bfloat16', blocks=1, variant='F4')
    config.method = common.picie() | SMALL
    method, batch = build.method(config.to_dict()), tiny.random_batch(2)
    params, extra = jax.eval_shape(method.init, KEY, batch['image'])
    outputs, after = jax.eval_shape(functools.partial(method.forward, time=tiny.BEGINNING), params, extra, batch, key=KEY)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(outputs)} == {'float32'}
    assert {leaf.dtype.name for leaf in jax.tree.leaves((after['clusters'], after[BATCH_STATS]))} == {'float32'}
    assert method.title == 'PiCIE' and jax.tree.leaves(after[BATCH_STATS])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'auxiliary_clusters': 1}, r'method\.auxiliary_clusters is 2 to 1000, or 0 for none; found 1'),
        ({'scores': 'near'}, r"config\.method\.scores is one of cosine, dot; found 'near'"),
        ({'balance': 'even'}, r"config\.method\.balance is one of none, inverse, frequency; found 'even'"),
        ({'initial_batches': 0}, r'method\.initial_batches is at least 1, found 0'),
        ({'width': -1}, r'method\.width is at most 4096, or 0 for the features themselves; found -1'),
        ({'colours': 'loud'}, r"config\.method\.colours is one of none, paper, released; found 'loud'"),
    ],
)
def test_what_cannot_be_is_explained(monkeypatch, options, message):
    with pytest.raises(UserError, match=message):
        _made(monkeypatch, **options)
