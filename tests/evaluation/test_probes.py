"""Probes of frozen features, on features whose classes are known to be separable, or not by a plane."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation.probes import Probes
from ar_seg_jax.interfaces import VOID
from tests.support import tiny

BOTH = ('linear', 'non-linear')
VARIABLES = {'scale': jnp.float32(40), 'offset': jnp.float32(-7)}  # probes should not care about either
QUICK = {'width': 16, 'learning_rate': 5e-2}


def _colours(variables, image):
    """A network whose features are the colours, of every second pixel for the logits."""
    features = variables['scale'] * image.astype(jnp.float32) / 255 + variables['offset']
    return {'features': features, 'logits': features[:, ::2, ::2]}


def _linear(image):
    return image.argmax(-1)


def _xor(image):
    return (image[..., 0] > 127) ^ (image[..., 1] > 127)


def _batches(classes, count=None, seed=0, side=8, block=1):
    for index in itertools.count() if count is None else range(count):
        rng = np.random.default_rng((seed, index))
        image = rng.integers(0, 256, (8, side // block, side // block, 3), dtype=np.uint8)
        image[..., :2] = np.where(abs(image[..., :2] - 127.0) < 40, 5, image[..., :2])  # a margin for the classes of _xor
        label = np.uint8(classes(image))
        yield {name: array.repeat(block, 1).repeat(block, 2) for name, array in (('image', image), ('label', label))}


def _accuracy(probes, variables, kind, batch, classes):
    found = jax.jit(probes.segment(_colours, kind, classes))(variables, batch['image'])
    return float((found == batch['label'])[batch['label'] != VOID].mean())


def _train(probes, batches, classes, seed=0):
    return probes.train(_colours, VARIABLES, batches, classes, seed)


def test_what_a_plane_separates_both_probes_learn_and_xor_only_the_non_linear_one():
    probes, accuracies = Probes(BOTH, steps=150, **QUICK), {}
    for name, task, classes in (('plane', _linear, 3), ('xor', _xor, 2)):
        variables = (VARIABLES, _train(probes, _batches(task, 150), classes))
        (unseen,) = _batches(task, 1, seed=1)
        for kind in BOTH:
            accuracies[name, kind] = _accuracy(probes, variables, f'{kind}:features', unseen, classes)
    assert accuracies['plane', 'linear'] > 0.95 and accuracies['plane', 'non-linear'] > 0.9, accuracies
    assert accuracies['xor', 'linear'] < 0.75 and accuracies['xor', 'non-linear'] > 0.95, accuracies


def test_probes_trained_together_are_those_trained_alone():
    together = _train(Probes(BOTH, steps=5, **QUICK), _batches(_linear, 5), 3)
    for kind in BOTH:
        alone = _train(Probes((kind,), steps=5, **QUICK), _batches(_linear, 5), 3)
        own = {part: {f'{kind}:features': tree[f'{kind}:features']} for part, tree in together.items()}
        jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5), own, alone)
    other = _train(Probes(BOTH, steps=5, **QUICK), _batches(_linear, 5), 3, seed=1)
    kernels = [tree['params']['linear:features']['classes']['kernel'] for tree in (together, other)]
    assert float(jnp.abs(kernels[0] - kernels[1]).max()) > 0.1


def test_void_pixels_have_no_say():
    """Wrong labels on half of the pixels spoil a probe; as VOID they do not. Where all is VOID nothing is learned."""

    def spoiled(value):
        for batch in _batches(_linear, 60):
            batch['label'][:, :5] = value
            yield batch

    probes = Probes(('linear',), steps=60, **QUICK)
    (unseen,) = _batches(_linear, 1, seed=1)
    accuracies = [
        _accuracy(probes, (VARIABLES, _train(probes, spoiled(value), 3)), 'linear:features', unseen, 3) for value in (VOID, 0)
    ]
    assert accuracies[0] > 0.93 and accuracies[1] < 0.8, accuracies
    void = [{**batch, 'label': np.full_like(batch['label'], VOID)} for batch in _batches(_linear, 3)]
    assert _train(probes, iter(void), 3) is None


@pytest.mark.parametrize('tap', ['features', 'logits'])
def test_classes_are_the_highest_logits_after_interpolation(tap):
    probes = Probes((f'linear:{tap}', f'non-linear:{tap}'), 4, **QUICK)
    own = _train(probes, _batches(_linear, 4), 3)
    (batch,) = _batches(_linear, 1, seed=2, side=6)
    maps = np.asarray(_colours(VARIABLES, batch['image'])[tap], np.float64)
    for kind in probes.full_names:
        params, statistics = (jax.tree.map(np.asarray, own[part][kind]) for part in ('params', 'batch_stats'))

        def normalised(x, name, statistics=statistics):
            return (x - statistics[name]['mean']) / np.sqrt(statistics[name]['var'] + 1e-5)

        def dense(x, name, params=params):
            return x @ params[name]['kernel'] + params[name]['bias']

        x = normalised(maps, 'scale')
        if kind.startswith('non-linear'):
            norm = params['norm']
            x = np.maximum(normalised(dense(x, 'hidden'), 'norm') * norm['scale'] + norm['bias'], 0)
        else:
            assert set(params) == {'classes'}  # the norm before a linear probe has nothing to learn
        logits = np.asarray(jax.image.resize(jnp.float32(dense(x, 'classes')), (8, 6, 6, 3), 'bilinear'))
        clear = np.diff(np.sort(logits, axis=-1)[..., 1:])[..., 0] > 1e-3
        found = jax.jit(probes.segment(_colours, kind, 3))((VARIABLES, own), batch['image'])
        np.testing.assert_array_equal(found[clear], logits.argmax(-1)[clear])
        assert clear.mean() > 0.95 and len(np.unique(found)) == 3


def test_eight_devices_train_the_probes_of_one():
    mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
    over_data, everywhere = (jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in (('data',), ()))
    probes = Probes(BOTH, steps=6, width=16, learning_rate=1e-3)
    expected = _train(probes, _batches(_linear, 6), 3)
    sharded = (jax.device_put(batch, over_data) for batch in _batches(_linear, 6))
    found = probes.train(_colours, jax.device_put(VARIABLES, everywhere), sharded, 3, 0)
    # The bias before the batch norm has no gradient but rounding, which Adam makes steps of full length of.
    for tree in (found, expected):
        del tree['params']['non-linear:features']['hidden']['bias'], tree['batch_stats']['non-linear:features']['norm']['mean']
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-2, atol=1e-3), found, expected)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(found))


def test_the_network_below_is_frozen():
    """Its parameters and running statistics are read, not written; with other ones the probe becomes another."""
    method = tiny.ac(displacement=1)
    (batch,) = _batches(_linear, 1, side=16, block=4)
    variables = jax.jit(method.init)(jax.random.key(0), batch['image'])
    before = jax.tree.map(np.array, variables)
    probes = Probes(('linear',), steps=3)

    def train(variables):
        return probes.train(lambda state, image: method.predict(*state, image), variables, itertools.repeat(batch, 3), 3, 0)

    own = train(variables)
    jax.tree.map(np.testing.assert_array_equal, variables, before)
    assert own['params']['linear:features']['classes']['kernel'].shape == (128, 3)
    other = train((variables[0], jax.tree.map(lambda leaf: leaf + 0.5, variables[1])))
    means = [tree['batch_stats']['linear:features']['scale']['mean'] for tree in (own, other)]
    assert float(jnp.abs(means[0] - means[1]).max()) > 1e-3


FORM = r"^evaluators\.probes\.names are '<kind>:<tap>' with a kind of linear, non-linear and a tap of features, logits; found "


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((('linear', 'cubic'), 1), f"{FORM}'cubic'$"),
        ((('linear:scores',), 1), f"{FORM}'linear:scores'$"),
        ((('linear',), 0), r'^evaluators\.probes\.steps is at least 1, found 0$'),
    ],
)
def test_probes_that_cannot_be_are_explained(arguments, message):
    with pytest.raises(UserError, match=message):
        Probes(*arguments)
