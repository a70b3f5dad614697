"""Probes of frozen features, on features whose classes are known to be separable, or not by a plane."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ar_seg_jax import layers
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import matching, probes, scoring
from ar_seg_jax.evaluation.probes import Probes
from ar_seg_jax.interfaces import VOID
from configs import common
from tests.support import tiny

BOTH = ('linear', 'non-linear')
VARIABLES = {'scale': jnp.float32(40), 'offset': jnp.float32(-7)}  # probes should not care about either
SHIPPED = common.get_config().evaluators.probes


def _colours(variables, image):
    """A network whose features are the colours, of every second pixel for the logits."""
    features = variables['scale'] * image.astype(jnp.float32) / 255 + variables['offset']
    return {'features': features, 'logits': features[:, ::2, ::2]}


def _to_pixels(maps, height, width):
    return layers.upsample(maps, -(-height // maps.shape[1]), height, width)


def _linear(image):
    return image.argmax(-1)


def _xor(image):
    return (image[..., 0] > 127) ^ (image[..., 1] > 127)


def _batches(classes, count, seed=0, side=8, block=1):
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        image = rng.integers(0, 256, (8, side // block, side // block, 3), dtype=np.uint8)
        image[..., :2] = np.where(abs(image[..., :2] - 127.0) < 40, 5, image[..., :2])  # a margin for the classes of _xor
        label = np.uint8(classes(image))
        yield {name: array.repeat(block, 1).repeat(block, 2) for name, array in (('image', image), ('label', label))}


def _sample(some, batches, variables=VARIABLES, seed=0):
    batches = list(batches)
    return some.sample(_colours, _to_pixels, variables, batches, sum(len(batch['image']) for batch in batches), seed)


def _train(some, batches, classes, seed=0):
    return some.train(*_sample(some, batches), classes, seed)


def _accuracy(some, trained, name, batch, classes):
    found = jax.jit(some.segment(_colours, _to_pixels, name, classes))((VARIABLES, trained), batch['image'])
    return float((found == batch['label'])[batch['label'] != VOID].mean())


def test_what_a_plane_separates_both_probes_learn_and_xor_only_the_non_linear_one():
    some, accuracies = Probes(BOTH, pixels=4000, steps=200, width=16), {}
    for name, task, classes in (('plane', _linear, 3), ('xor', _xor, 2)):
        trained = _train(some, _batches(task, 10), classes)
        (unseen,) = _batches(task, 1, seed=1)
        for kind in BOTH:
            accuracies[name, kind] = _accuracy(some, trained, f'{kind}:features', unseen, classes)
    assert accuracies['plane', 'linear'] > 0.97 and accuracies['plane', 'non-linear'] > 0.9, accuracies
    assert accuracies['xor', 'linear'] < 0.8 and accuracies['xor', 'non-linear'] > 0.95, accuracies


def _clusters(count, seed):
    """Logits of clusters that mostly, but not always, are those of the classes; the classes are of uneven size."""
    rng = np.random.default_rng(seed)
    label = rng.choice(3, count, p=[0.6, 0.3, 0.1]).astype(np.int32)
    means = np.float32([[2, 0, 0.5], [0, 1.5, 0.5], [1, 1, 2]])
    return np.float32(means[label] + rng.normal(size=(count, 3))), label


def test_a_probe_as_shipped_is_not_below_the_matched_clusters_of_its_tap():
    """These are a linear map of the logits too. (A fifth of the steps is enough for features as simple as these.)"""
    some = Probes(('linear:logits', 'non-linear:logits'), SHIPPED.pixels, SHIPPED.steps // 5)
    logits, label = _clusters(SHIPPED.pixels, seed=0)
    trained = some.train({'logits': logits}, label, 3, 0)
    unseen, truth = _clusters(20_000, seed=1)
    confusion = np.asarray(
        scoring.confusion_counts(jnp.asarray(unseen.argmax(-1)[None, None]), jnp.uint8(truth)[None, None], 3, 3)
    )
    matched = scoring.score(confusion, matching.one_to_one(confusion)).accuracy
    maps = lambda variables, image: {'logits': jnp.asarray(unseen.reshape(1, 100, 200, 3))}  # noqa: E731
    for name in some.full_names:
        found = some.segment(maps, _to_pixels, name, 3)(((), trained), jnp.zeros((1, 100, 200, 3), jnp.uint8))
        assert (np.asarray(found).ravel() == truth).mean() > matched - 0.003, name


def test_ten_times_the_training_changes_a_probe_by_less_than_a_point(monkeypatch):
    """Of a smaller network whose steps, half as many as shipped, see fewer pixels: they are noisier, and the claim stronger."""
    monkeypatch.setattr(probes, '_BATCH', 256)
    logits, label = _clusters(10_000, seed=0)
    (unseen, truth), accuracies = _clusters(20_000, seed=1), {}
    image = jnp.zeros((1, 100, 200, 3), jnp.uint8)
    for times in (1, 10):
        monkeypatch.setattr(probes, '_ITERATIONS', times * 500)
        some = Probes(('linear:logits', 'non-linear:logits'), SHIPPED.pixels, times * SHIPPED.steps // 2, width=8)
        trained = some.train({'logits': logits}, label, 3, 0)
        for name in some.full_names:
            segment = some.segment(lambda *_: {'logits': jnp.asarray(unseen.reshape(1, 100, 200, 3))}, _to_pixels, name, 3)
            accuracies[name, times] = (np.asarray(segment(((), trained), image)).ravel() == truth).mean()
    for name in some.full_names:
        assert abs(accuracies[name, 1] - accuracies[name, 10]) < 0.01, accuracies


def test_the_linear_probe_is_the_logistic_regression_of_scikit_learn():
    some = Probes(('linear:logits',), SHIPPED.pixels, 1)
    logits, label = _clusters(3000, seed=0)
    trained = some.train({'logits': logits}, label, 3, 0)['linear:logits']
    expected = LogisticRegression(C=np.inf, max_iter=1000, tol=1e-6).fit((logits - trained['mean']) / trained['deviation'], label)
    centred = [np.concatenate([kernel.T, bias[:, None]], axis=1) for kernel, bias in (
        (trained['kernel'], trained['bias']), (expected.coef_.T, expected.intercept_))]  # fmt: skip
    centred = [weights - weights.mean(0) for weights in centred]  # what is common to all classes changes nothing
    np.testing.assert_allclose(*centred, atol=0.01)


def test_probes_trained_together_are_those_trained_alone():
    some = {names: Probes(names, pixels=500, steps=20, width=16) for names in (BOTH, ('linear',), ('non-linear',))}
    together = _train(some[BOTH], _batches(_linear, 2), 3)
    for kind in BOTH:
        alone = _train(some[kind,], _batches(_linear, 2), 3)
        own = {f'{kind}:features': together[f'{kind}:features']}
        jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5), own, alone)
    other = _train(some[BOTH], _batches(_linear, 2), 3, seed=1)
    kernels = [found['non-linear:features']['head']['params']['hidden']['kernel'] for found in (together, other)]
    assert float(np.abs(kernels[0] - kernels[1]).max()) > 0.1


def test_the_sample_has_features_and_classes_of_labelled_pixels_of_all_images():
    def spoiled():
        for batch in _batches(_linear, 3):
            batch['label'][:, :5] = VOID
            batch['label'][2] = VOID
            yield batch

    some = Probes(('linear', 'linear:logits'), pixels=24 * 10, steps=1)
    features, label = _sample(some, spoiled())
    batches = list(spoiled())
    assert label.dtype == np.int32 and len(label) == 3 * 7 * 10 and set(features) == {'features', 'logits'}
    for index, batch in enumerate(batches):
        maps = _colours(VARIABLES, batch['image'])
        at_pixels = {tap: np.asarray(_to_pixels(value, 8, 8)) for tap, value in maps.items()}
        for place, image in enumerate(image for image in range(8) if image != 2):
            drawn = slice(70 * index + 10 * place, 70 * index + 10 * place + 10)
            known = np.argwhere(batch['label'][image] != VOID)
            vectors = [
                np.concatenate([at_pixels[tap][image] for tap in ('features', 'logits')], axis=-1)[tuple(at)] for at in known
            ]
            classes = {vector.tobytes(): batch['label'][image][tuple(at)] for vector, at in zip(vectors, known, strict=True)}
            taken = np.concatenate([features[tap][drawn] for tap in ('features', 'logits')], axis=-1)
            assert [classes[vector.tobytes()] for vector in taken] == label[drawn].tolist()
    again, other = _sample(some, spoiled()), _sample(some, spoiled(), seed=1)
    np.testing.assert_array_equal(again[1], label)
    assert (other[0]['features'] != features['features']).any()
    void = [{**batch, 'label': np.full_like(batch['label'], VOID)} for batch in batches]
    assert not len(_sample(some, void)[1])


@pytest.mark.parametrize('tap', ['features', 'logits'])
def test_classes_are_the_highest_logits_after_interpolation(tap):
    some = Probes((f'linear:{tap}', f'non-linear:{tap}'), 500, 20, width=16)
    trained = _train(some, _batches(_linear, 2), 3)
    (batch,) = _batches(_linear, 1, seed=2, side=6)
    maps = np.asarray(_to_pixels(_colours(VARIABLES, batch['image'])[tap], 6, 6), np.float64)
    for name in some.full_names:
        own = jax.tree.map(np.asarray, trained[name])
        x = (maps - own['mean']) / own['deviation']
        if name.startswith('linear'):
            logits = x @ own['kernel'] + own['bias']
        else:
            params, statistics = own['head']['params'], own['head']['batch_stats']['norm']
            x = x @ params['hidden']['kernel'] + params['hidden']['bias']
            x = (x - statistics['mean']) / np.sqrt(statistics['var'] + 1e-5) * params['norm']['scale'] + params['norm']['bias']
            logits = np.maximum(x, 0) @ params['classes']['kernel'] + params['classes']['bias']
        clear = np.diff(np.sort(logits, axis=-1)[..., 1:])[..., 0] > 1e-3
        found = jax.jit(some.segment(_colours, _to_pixels, name, 3))((VARIABLES, trained), batch['image'])
        np.testing.assert_array_equal(found[clear], logits.argmax(-1)[clear])
        assert clear.mean() > 0.95 and len(np.unique(found)) == 3


def test_eight_devices_draw_the_sample_of_one():
    mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
    over_data, everywhere = (jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in (('data',), ()))
    some = Probes(BOTH, pixels=500, steps=1)
    expected = _sample(some, _batches(_linear, 2))
    sharded = [jax.device_put(batch, over_data) for batch in _batches(_linear, 2)]
    jax.tree.map(np.testing.assert_array_equal, _sample(some, sharded, jax.device_put(VARIABLES, everywhere)), expected)


def test_the_network_below_is_frozen():
    """Its parameters and running statistics are read, not written; with other ones the features are others."""
    method = tiny.ac(displacement=1)
    (batch,) = _batches(_linear, 1, side=16, block=4)
    variables = jax.jit(method.init)(jax.random.key(0), batch['image'])
    before = jax.tree.map(np.array, variables)

    def sample(variables):
        predict = lambda state, image: method.predict(*state, image)  # noqa: E731
        return Probes(('linear',), 200, 1).sample(predict, method.to_pixels, variables, [batch] * 3, 24, 0)[0]

    own = sample(variables)
    jax.tree.map(np.testing.assert_array_equal, variables, before)
    assert own['features'].shape == (24 * 9, 128)
    other = sample((variables[0], jax.tree.map(lambda leaf: leaf + 0.5, variables[1])))
    assert float(np.abs(own['features'] - other['features']).max()) > 1e-3


FORM = r"^evaluators\.probes\.names are '<kind>:<tap>' with a kind of linear, non-linear and a tap of features, logits; found "


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((('linear', 'cubic'), 1, 1), f"{FORM}'cubic'$"),
        ((('linear:scores',), 1, 1), f"{FORM}'linear:scores'$"),
        ((('linear',), 0, 1), r'^evaluators\.probes\.pixels is at least 1, found 0$'),
        ((('linear',), 1, 0), r'^evaluators\.probes\.steps is at least 1, found 0$'),
    ],
)
def test_probes_that_cannot_be_are_explained(arguments, message):
    with pytest.raises(UserError, match=message):
        Probes(*arguments)
