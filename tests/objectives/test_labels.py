"""Cross-entropy with pseudo-labels, the weights of clusters, and what is told of labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.objectives import clustering, labels

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ('balance', 'expected'), [('none', [1, 1, 1]), ('frequency', [0.75, 0.25, 0]), ('inverse', [4 / 9, 4 / 3, 0])]
)
def test_weights_follow_from_sizes(balance, expected):
    np.testing.assert_allclose(labels.class_weights(jnp.asarray([6, 2, 0.0]), balance), expected, rtol=1e-6)


def test_inverse_weights_let_clusters_count_alike():
    """The mean of weighted losses is then the mean over clusters of their mean losses."""
    classes = jnp.asarray([[[0, 0, 0, 1]]])
    logits = jnp.asarray(RNG.normal(size=(1, 1, 4, 2)), jnp.float32)
    counted = jnp.ones((1, 1, 4), bool)
    found = labels.cross_entropy(logits, classes, labels.class_weights(jnp.asarray([3, 1.0]), 'inverse'), counted).mean()
    losses = -np.asarray(jax.nn.log_softmax(logits))[0, 0, range(4), [0, 0, 0, 1]]
    np.testing.assert_allclose(found, (losses[:3].mean() + losses[3]) / 2, rtol=1e-5)


def test_cross_entropy_is_that_of_a_loop_over_what_counts():
    logits, classes = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32), RNG.integers(0, 5, (2, 3, 4))
    weights, counted = RNG.uniform(size=5).astype(np.float32), RNG.uniform(size=(2, 3, 4)) < 0.6
    losses = total = 0.0
    for place in zip(*np.nonzero(counted), strict=True):
        exponentials = np.exp(np.float64(logits[place]))
        losses -= weights[classes[place]] * np.log(exponentials[classes[place]] / exponentials.sum())
        total += weights[classes[place]]
    found = labels.cross_entropy(*map(jnp.asarray, (logits, classes, weights, counted)))
    assert found.losses.shape == found.weights.shape == (2,)
    np.testing.assert_allclose(found.mean(), losses / total, rtol=1e-5)
    nothing = labels.cross_entropy(*map(jnp.asarray, (logits, classes, weights, counted & False)))
    assert float(nothing.mean()) == 0


def test_what_is_told_of_labels():
    """Of eight places that count six have the first label and two the second; their distances are 1 and 4."""
    centroids = jnp.asarray([[0, 0], [4, 0], [9, 9.0]])
    vectors = jnp.asarray([[0, 1]] * 6 + [[4, 2]] * 2 + [[7, 7]], jnp.float32).reshape(1, 3, 3, 2)
    classes = jnp.asarray([0] * 6 + [1] * 2 + [2]).reshape(1, 3, 3)
    counted = jnp.arange(9).reshape(1, 3, 3) < 8
    found = labels.metrics(labels.statistics(vectors, classes, centroids, counted))
    expected = {
        'label_entropy': -0.75 * np.log(0.75) - 0.25 * np.log(0.25),
        'label_entropy_bound': np.log(3),
        'empty_clusters': 1 / 3,
        'label_distance': (6 * 1 + 2 * 4) / 8,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6)
    words, warning = labels.in_words({name: float(value) for name, value in found.items()})
    assert words == 'H(labels) 0.562 of at most 1.099 nats  33% of clusters empty  distance 1.7500' and not warning


def test_a_collapse_is_told():
    scalars = {'label_entropy': 0.1, 'label_entropy_bound': 1.1, 'empty_clusters': 0.0, 'label_distance': 0.0}
    assert 'Clusters have collapsed: their entropy is 0.1000 of 1.1000 nats' in labels.in_words(scalars).warning
    assert not labels.in_words({**scalars, 'label_entropy': 0.12}).warning


def test_vectors_of_no_length_have_a_gradient():
    vectors = jnp.asarray([[3, 4], [0, 0.0]])
    np.testing.assert_allclose(clustering.unit(vectors), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda vectors: clustering.unit(vectors).sum())(vectors)).all()
