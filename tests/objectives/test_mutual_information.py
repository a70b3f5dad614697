"""Mutual information against loops over images, pixels and displacements, and against cases with a known answer."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from ar_seg_jax.errors import UserError
from ar_seg_jax.objectives import mutual_information as mi
from ar_seg_jax.objectives.mutual_information import InformationLoss
from tests.support import tiny


def smooth_pair(height=6, width=9, clusters=4, batch=2, seed=0):
    """Two similar maps of probabilities. Smooth ones: the mutual information of white noise is nearly 0 under any formula."""
    rng = np.random.default_rng(seed)
    logits = ndimage.gaussian_filter(rng.normal(size=(batch, height, width, clusters)), (0, 1.5, 1.5, 0)) * 12
    noise = rng.normal(size=(2, *logits.shape)) * 0.5
    scores = np.exp(logits[None] + noise)
    p, q = scores / scores.sum(axis=-1, keepdims=True)
    return p, q


def void_mask(p, seed=1):
    mask = np.random.default_rng(seed).uniform(size=p.shape[:3]) > 0.3
    assert 0 < mask.mean() < 1
    return mask


def single(*arrays):
    """As the package has them: single precision, but for masks."""
    return [array if array is None else jnp.asarray(array, bool if array.dtype == bool else jnp.float32) for array in arrays]


def slow_joints(p, q, displacement, mask=None):
    """The joint before normalisation of every displacement, row by row: one outer product per pair of counted pixels."""
    batch, height, width, clusters = p.shape
    mask = np.ones(p.shape[:3]) if mask is None else mask
    joints = []
    for down in range(-displacement, displacement + 1):
        for right in range(-displacement, displacement + 1):
            joint = np.zeros((clusters, clusters))
            for image, i, j in np.ndindex(batch, height, width):
                if 0 <= i + down < height and 0 <= j + right < width:
                    counted = mask[image, i, j] * mask[image, i + down, j + right]
                    joint += counted * np.outer(p[image, i, j], q[image, i + down, j + right])
            joints.append(joint)
    return np.array(joints)


def shannon(p):
    p = np.asarray(p, np.float64)
    return -np.sum(p[p > 0] * np.log(p[p > 0]))


def slow_information(joint):
    """KL divergence of the joint from the product of its marginals: the definition, where the package adds entropies."""
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    counted = joint > 0
    return np.sum(joint[counted] * np.log(joint[counted] / independent[counted]))


def slow_loss(p, q, displacement, mask=None, collapsed=True, symmetric=True, entropy_weight=1.0, target=math.inf):
    """IIC's expression: minus the sum of P (log P - lambda log p_i - lambda log p_j); less of the entropies above a target."""
    joints = slow_joints(p, q, displacement, mask)
    joints = joints.sum(axis=0, keepdims=True) if collapsed else joints
    losses = []
    for joint in joints:
        joint = joint / joint.sum()
        joint = (joint + joint.T) / 2 if symmetric else joint
        rows, columns = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
        loss = -np.sum(joint * (np.log(joint) - entropy_weight * np.log(rows) - entropy_weight * np.log(columns)))
        losses.append(loss + entropy_weight * sum(max(shannon(marginal.ravel()) - target, 0) for marginal in (rows, columns)))
    return np.mean(losses)


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('displacement', [0, 1, 3])
def test_the_joint_distributions_are_those_of_a_loop_over_displacements_and_pixels(displacement, masked):
    p, q = smooth_pair()
    mask = void_mask(p) if masked else None
    joints = slow_joints(p, q, displacement, mask)
    collapsed = mi.joint_distribution(*single(p, q), displacement, *single(mask))
    np.testing.assert_allclose(collapsed, joints.sum(axis=0) / joints.sum(), rtol=1e-4, atol=1e-7)
    each = mi.joint_distributions(*single(p, q), displacement, *single(mask))
    assert each.shape == ((2 * displacement + 1) ** 2, 4, 4)
    np.testing.assert_allclose(each, joints / joints.sum(axis=(1, 2), keepdims=True), rtol=1e-4, atol=1e-7)
    # The order of the displacements matters for nothing but is documented; the loop tells up from down and left from right.
    if displacement:
        assert not np.allclose(each, each[::-1], rtol=1e-2)


def test_the_box_filter_sums_over_windows_and_counts_nothing_outside():
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
    expected = ndimage.convolve(x, np.ones((1, 5, 5, 1)), mode='constant')
    np.testing.assert_allclose(mi.box_filter(*single(x), 2), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('symmetric', [False, True])
@pytest.mark.parametrize('collapsed', [False, True])
@pytest.mark.parametrize('entropy_weight', [1.0, 1.5])
def test_the_loss_is_that_of_the_papers(collapsed, symmetric, entropy_weight):
    p, q = smooth_pair()
    mask = void_mask(p)
    loss, metrics = InformationLoss(2, collapsed, symmetric, entropy_weight)(*single(p, q, mask))
    expected = slow_loss(p, q, 2, mask, collapsed, symmetric, entropy_weight)
    assert abs(expected) > 0.05
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_allclose(metrics['mutual_information'], -slow_loss(p, q, 2, mask, collapsed, symmetric), rtol=1e-4)


@pytest.mark.parametrize('collapsed', [False, True])
@pytest.mark.parametrize('entropy_weight', [1.0, 0.7])
def test_entropies_above_the_target_are_not_rewarded(collapsed, entropy_weight):
    p, q = smooth_pair()
    _, metrics = InformationLoss(2, collapsed, True, entropy_weight)(*single(p, q))
    target = 0.9 * float(metrics['entropy'])
    loss, told = InformationLoss(2, collapsed, True, entropy_weight, target)(*single(p, q))
    expected = slow_loss(p, q, 2, None, collapsed, True, entropy_weight, target)
    assert abs(expected - slow_loss(p, q, 2, None, collapsed, True, entropy_weight)) > 0.05
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_allclose(told['mutual_information'], metrics['mutual_information'], rtol=1e-6)


def test_a_target_that_is_not_reached_changes_no_gradient_and_one_that_is_takes_the_reward_away():
    """Of the logits of a prior: with the target at the entropy of even clusters, and below that of the clusters."""
    pixels = jax.nn.one_hot(jnp.array([0, 0, 0, 1, 1, 2, 3, 3]), 4).reshape(1, 2, 4, 4)

    def loss(prior, target):
        p = jax.nn.softmax(4 * pixels + prior[None, None, None])
        return InformationLoss(0, True, True, 1.0, target)(p, p)[0]

    gradient = jax.grad(loss)
    prior = jnp.array([0.3, 0.0, -0.2, 0.1])
    np.testing.assert_allclose(gradient(prior, math.log(4)), gradient(prior, None), atol=1e-7)
    assert not np.allclose(gradient(prior, 0.5), gradient(prior, None), atol=1e-2)


@pytest.mark.parametrize('collapsed', [False, True])
def test_the_metrics_are_the_entropies_of_the_joints(collapsed):
    p, q = smooth_pair()
    _, metrics = tiny.information(displacement=1, collapsed=collapsed, symmetric=False)(*single(p, q))
    joints = slow_joints(p, q, 1)
    joints = joints.sum(axis=0, keepdims=True) if collapsed else joints
    joints = joints / joints.sum(axis=(1, 2), keepdims=True)
    rows = np.mean([shannon(joint.sum(axis=1)) for joint in joints])
    columns = np.mean([shannon(joint.sum(axis=0)) for joint in joints])
    both = np.mean([shannon(joint) for joint in joints])
    np.testing.assert_allclose(metrics['entropy'], rows, rtol=1e-5)
    np.testing.assert_allclose(metrics['conditional_entropy'], both - columns, rtol=1e-4)
    np.testing.assert_allclose(metrics['mutual_information'], rows + columns - both, rtol=1e-3)
    np.testing.assert_allclose(metrics['mutual_information_bound'], np.log(4), rtol=1e-6)
    assert not np.isclose(rows, columns, rtol=1e-4), 'the two entropies could be swapped unnoticed'


def test_mutual_information_of_a_joint_is_its_divergence_from_independence():
    for seed in range(5):
        joint = np.random.default_rng(seed).dirichlet(np.full(15, 0.3)).reshape(3, 5)[:, :3]
        joint = joint / joint.sum()
        np.testing.assert_allclose(mi.mutual_information(*single(joint)), slow_information(joint), rtol=1e-4, atol=1e-6)
        table = np.round(joint * 1e6)
        statistic = stats.chi2_contingency(table, lambda_='log-likelihood', correction=False).statistic
        np.testing.assert_allclose(mi.mutual_information(*single(joint)), statistic / (2 * table.sum()), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('collapsed', [False, True])
def test_independent_maps_have_no_mutual_information(collapsed):
    """Each cluster of one map meets each of the other equally often: stripes along rows, stripes along columns."""
    rows, columns = np.indices((8, 8))
    p, q = (np.eye(2)[index % 2][None] for index in (rows, columns))
    _, metrics = tiny.information(displacement=0, collapsed=collapsed)(*single(p, q))
    np.testing.assert_allclose(metrics['mutual_information'], 0, atol=1e-6)
    np.testing.assert_allclose(metrics['entropy'], np.log(2), rtol=1e-5)
    # and their own with themselves is everything
    _, metrics = tiny.information(displacement=0, collapsed=collapsed)(*single(p, p))
    np.testing.assert_allclose(metrics['mutual_information'], np.log(2), rtol=1e-5)


@pytest.mark.parametrize('collapsed', [False, True])
@pytest.mark.parametrize('clusters', [2, 3, 6])
def test_identical_balanced_maps_reach_the_bound(clusters, collapsed):
    labels = np.random.default_rng(0).permutation(np.arange(2 * 6 * 6) % clusters).reshape(2, 6, 6)
    relabelled = np.random.default_rng(1).permutation(clusters)[labels]
    p, q = np.eye(clusters)[labels], np.eye(clusters)[relabelled]
    for other in (p, q):
        loss, metrics = tiny.information(displacement=0, collapsed=collapsed, symmetric=False)(*single(p, other))
        np.testing.assert_allclose(-loss, np.log(clusters), rtol=1e-5)
        np.testing.assert_allclose(metrics['mutual_information_bound'], np.log(clusters), rtol=1e-6)
        np.testing.assert_allclose(metrics['conditional_entropy'], 0, atol=1e-5)


def test_one_cluster_for_everything_and_uniform_scores_have_no_mutual_information():
    everything = np.broadcast_to(np.eye(3)[0], (2, 5, 5, 3))
    uniform = np.full((2, 5, 5, 3), 1 / 3)
    for scores, entropy in ((everything, 0), (uniform, np.log(3))):
        _, metrics = tiny.information(displacement=1)(*single(scores, scores))
        np.testing.assert_allclose(metrics['mutual_information'], 0, atol=1e-6)
        np.testing.assert_allclose(metrics['entropy'], entropy, rtol=1e-5, atol=1e-6)


def test_masked_pixels_have_no_say():
    p, q = smooth_pair()
    mask = void_mask(p)
    other, another = smooth_pair(seed=5)
    changed = [np.where(mask[..., None], scores, elsewhere) for scores, elsewhere in ((p, other), (q, another))]
    for collapsed in (False, True):
        loss = tiny.information(displacement=2, collapsed=collapsed)
        np.testing.assert_allclose(loss(*single(p, q, mask))[0], loss(*single(*changed, mask))[0], rtol=1e-6)
        assert abs(loss(*single(p, q))[0] - loss(*single(*changed))[0]) > 1e-3


def test_swapping_the_views_changes_only_the_asymmetric_loss_of_an_entropy():
    p, q = smooth_pair()
    symmetric = tiny.information(displacement=1)
    np.testing.assert_allclose(symmetric(*single(p, q))[0], symmetric(*single(q, p))[0], rtol=1e-5)
    one, other = (tiny.information(displacement=1, symmetric=False)(*single(*pair))[1] for pair in ((p, q), (q, p)))
    np.testing.assert_allclose(one['mutual_information'], other['mutual_information'], rtol=1e-4)
    assert abs(one['entropy'] - other['entropy']) > 1e-4


@pytest.mark.parametrize('collapsed', [False, True])
@pytest.mark.parametrize('masked', [False, True])
def test_the_gradient_is_that_of_finite_differences_of_the_slow_loss_in_float64(collapsed, masked):
    p, q = smooth_pair(4, 5, 3, batch=1)
    mask = void_mask(p) if masked else None
    information = tiny.information(displacement=1, collapsed=collapsed, entropy_weight=1.3)
    gradients = jax.grad(lambda p, q: information(p, q, *single(mask))[0], argnums=(0, 1))(*single(p, q))
    largest = max(float(jnp.abs(gradient).max()) for gradient in gradients)
    for which, gradient in enumerate(gradients):
        for seed in range(3):
            direction = np.random.default_rng(seed).normal(size=p.shape)
            step = [1e-6 * direction * (which == 0), 1e-6 * direction * (which == 1)]
            above, below = (
                slow_loss(p + sign * step[0], q + sign * step[1], 1, mask, collapsed, entropy_weight=1.3) for sign in (1, -1)
            )
            np.testing.assert_allclose(np.sum(gradient * direction), (above - below) / 2e-6, rtol=1e-3, atol=1e-3 * largest)


@pytest.mark.parametrize('collapsed', [False, True])
def test_gradients_are_finite_at_one_hot_scores_and_without_a_counted_pixel(collapsed):
    information = tiny.information(displacement=1, collapsed=collapsed)
    labels = np.zeros((1, 4, 4), int)
    labels[:, 2:] = 1  # cluster 2 is empty
    one_hot = np.eye(3)[labels]
    p, q = smooth_pair(4, 4, 3, batch=1)
    for scores, mask in (((one_hot, one_hot), None), ((p, q), np.zeros((1, 4, 4), bool))):
        loss, gradients = jax.value_and_grad(lambda p, q, mask=mask: information(p, q, *single(mask))[0], argnums=(0, 1))(
            *single(*scores)
        )
        assert np.isfinite(loss)
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        assert mask is not None or any(gradient.any() for gradient in gradients)
    _, metrics = information(*single(p, q, np.zeros((1, 4, 4), bool)))
    assert metrics['mutual_information'] == 0 and loss == 0
    assert not any(gradient.any() for gradient in gradients)


def test_scores_in_half_precision_are_summed_in_single_precision():
    p, q = smooth_pair(32, 32, batch=4)
    half = [jnp.asarray(scores, jnp.bfloat16) for scores in (p, q)]
    exact = [np.asarray(scores, np.float64) for scores in half]
    joint = np.einsum('bhwk,bhwl->kl', *exact)
    found = mi.joint_distribution(*half, 0)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, joint / joint.sum(), rtol=1e-5)


@pytest.mark.parametrize('displacement', [-1, 5, 6])
def test_a_window_larger_than_the_map_is_refused(displacement):
    p, q = single(*smooth_pair(5, 9))
    for form in (mi.joint_distribution, mi.joint_distributions):
        with pytest.raises(UserError, match=f'at least 0 and less than the map, found {displacement} for a map of 5 x 9'):
            form(p, q, displacement)
    mi.joint_distribution(p, q, 4)


def test_words_say_what_was_found_and_warn_of_collapsed_clusters_only():
    metrics = {'mutual_information': 0.5, 'mutual_information_bound': 1.0986, 'entropy': 1.0, 'conditional_entropy': 0.4}
    remark = mi.in_words({**metrics, 'loss': -0.5})
    assert remark == ("MI 0.5000 of at most 1.0986 nats  H(y) 1.000  H(y|y') 0.400", '')
    collapsed = mi.in_words({**metrics, 'entropy': 0.01})
    assert collapsed.words.startswith('MI 0.5000') and 'H(y) 0.010' in collapsed.words
    assert 'Clusters have collapsed: their entropy is 0.0100 of 1.0986 nats' in collapsed.warning
    assert [bool(mi.in_words({**metrics, 'entropy': entropy}).warning) for entropy in (0.109, 0.111)] == [True, False]


@pytest.mark.parametrize('collapsed', [False, True])
@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_accelerators_are_asked_for_products_in_single_precision(platform, collapsed):
    """Otherwise a GPU would take TF32 for them, and a TPU bfloat16."""
    maps = [jax.ShapeDtypeStruct((2, 6, 6, 3), jnp.float32)] * 2
    gradient = jax.jit(jax.grad(lambda p, q: tiny.information(displacement=1, collapsed=collapsed)(p, q)[0], argnums=(0, 1)))
    products = re.findall(r'stablehlo\.dot_general.*', gradient.trace(*maps).lower(lowering_platforms=(platform,)).as_text())
    assert len(products) >= 3 and all('precision = [HIGHEST, HIGHEST]' in product for product in products)
