"""Mixtures of colours and places: against k-means, scipy and loops; what layout and smoothing add; what does not count."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp, softmax
from sklearn.cluster import KMeans

from ar_seg_jax import build
from ar_seg_jax.epochs import Time
from ar_seg_jax.errors import UserError
from ar_seg_jax.methods import mixture
from ar_seg_jax.training import gradients
from configs import common
from tests.support import tiny

KEY = jax.random.key(1)
SMALL = {'layout': 0, 'smoothing': 0, 'initial_batches': 1, 'vectors_of_image': 0}  # 0 vectors are all


def _made(relative='none', **options):
    """Of colours, by default of all pixels by themselves."""
    model = common.colours() | {'relative': relative}
    return build.method({'method': common.mixture() | SMALL | options, 'model': model})


def _refreshed(method, *batches, extra=None):
    params, begun = method.init(jax.random.key(0), batches[0]['image'])
    return method.refresh(params, extra or begun, iter(batches), key=KEY, time=tiny.BEGINNING)


def _trained(method, batch, steps):
    """After so many steps with the same batch."""
    params, extra = _refreshed(method, batch)

    @functools.partial(jax.jit, compiler_options=tiny.QUICK)
    def step(extra, number):
        return method.forward(params, extra, batch, key=KEY, time=Time(number, jnp.int32(0)))[1]

    for number in range(steps):
        extra = step(extra, jnp.int32(number))
    return params, extra


@functools.partial(jax.jit, static_argnums=0, compiler_options=tiny.QUICK)
def _loss(method, params, extra, batch, step=0):
    return gradients.loss(method, params, extra, batch, key=KEY, time=Time(step, step))


def _clusters(method, params, extra, image):
    return np.asarray(method.predict(params, extra, image)['scores']).argmax(-1)


def _batch(image):
    image = np.uint8(np.clip(np.round(image), 0, 255))
    return {'image': jnp.asarray(image), 'label': jnp.zeros(image.shape[:3], jnp.uint8)}


def _cut(batch, corners, side):
    """Crops of all images at these corners, with their boxes; images are square."""
    size = batch['image'].shape[1]
    crops = np.concatenate([batch['image'][:, row : row + side, column : column + side] for row, column in corners])
    boxes = [[row / size, column / size, side / size, side / size] for row, column in corners for _ in batch['image']]
    return {**_batch(crops), 'box': jnp.asarray(boxes, jnp.float32)}


def _overlap(clusters, truth):
    """Intersection over union with the best cluster."""
    return max(np.mean((clusters == cluster) & truth) / np.mean((clusters == cluster) | truth) for cluster in range(2))


@pytest.mark.parametrize('seed', range(2))
def test_a_small_class_is_found_beside_a_large_one_of_another_shape_and_k_means_finds_it_not(seed):
    """95 % are greys from dark to bright, 5 % a green of medium brightness."""
    rng = np.random.default_rng(seed)
    truth = rng.random((4, 32, 32)) < 0.05
    greys = 120 + 35 * rng.normal(size=(4, 32, 32, 1)) + 4 * rng.normal(size=(4, 32, 32, 3))
    greens = np.array([100, 150, 100]) + 5 * rng.normal(size=(4, 32, 32, 3))
    batch, method = _batch(np.where(truth[..., None], greens, greys)), _made(num_clusters=2)
    by_k_means = KMeans(2, n_init=5, random_state=0).fit_predict(np.float32(batch['image'].reshape(-1, 3)))
    assert _overlap(by_k_means.reshape(truth.shape), truth) < 0.3
    params, extra = _trained(method, batch, 60)
    assert _overlap(_clusters(method, params, extra, batch['image']), truth) > 0.9
    np.testing.assert_allclose(np.sort(extra['moments'].shares), [truth.mean(), 1 - truth.mean()], atol=0.02)


@pytest.mark.parametrize('layout', [0, 4])
def test_the_layout_tells_equal_colours_apart_by_what_is_there_in_other_images(layout):
    """Roads are grey, and so is every other sky; the others are blue. Between them is a band of any colour."""
    rng = np.random.default_rng(0)
    image = 130 + 6 * rng.normal(size=(8, 24, 24, 3))
    image[::2, :10] += [-60, -10, 80]
    image[:, 10:14] = rng.uniform(0, 255, (8, 1, 1, 3))
    batch, method = _batch(image), _made(num_clusters=4, layout=layout)
    clusters = _clusters(method, *_trained(method, batch, 20), batch['image'])[1::2]
    sky, road = (np.bincount(part.ravel(), minlength=4) / part.size for part in (clusters[:, :10], clusters[:, 14:]))
    apart = np.abs(sky - road).sum() / 2  # 1 where no cluster is in both
    assert apart > 0.95 if layout else apart < 0.3


def test_crops_that_say_where_they_are_from_are_seen_as_the_images_they_are_parts_of():
    batch, method = tiny.random_batch(4), _made(layout=4)
    crops = _cut(batch, [(0, 0), (0, 8), (8, 0), (8, 8)], 8)
    params, extra = _refreshed(method, batch)
    _, other = _refreshed(method, crops)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), other['layout'], extra['layout'])
    loss, (after, _) = _loss(method, params, extra, batch)
    found, (after_crops, _) = _loss(method, params, extra, crops)
    np.testing.assert_allclose(found, loss, rtol=1e-4)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), after_crops['moments'], after['moments'])
    without, _ = _loss(method, params, extra, {name: crops[name] for name in ('image', 'label')})
    assert abs(without - loss) > 0.1


def test_the_layout_is_of_all_batches_of_the_pass_and_k_means_of_the_first_ones():
    whole, method = tiny.random_batch(6), _made(layout=4)
    batches = [{name: array[start : start + 2] for name, array in whole.items()} for start in (0, 2, 4)]
    _, found = _refreshed(method, *batches)
    means = np.asarray(found['layout'].sums) / np.asarray(found['layout'].weights)[..., None]
    _, expected = _refreshed(method, whole)
    np.testing.assert_allclose(means, expected['layout'].sums / expected['layout'].weights[..., None], rtol=1e-4)
    # What is clustered of the first batch has a mean of zero, and its colours a mean variance of one.
    moments = jax.tree.map(np.asarray, found['moments'])
    np.testing.assert_allclose(moments.shares.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(moments.first.sum(0), np.zeros(6), atol=1e-5)
    np.testing.assert_allclose(np.diag(moments.second.sum(0))[:3].mean(), 1, rtol=1e-4)
    colours = np.asarray(batches[0]['image']).reshape(-1, 3) / 255
    np.testing.assert_allclose(found['offset'][:3], colours.mean(0), rtol=1e-4)
    np.testing.assert_allclose(found['scale'], np.sqrt(colours.var(0).mean()), rtol=1e-4)


@pytest.mark.parametrize('layout', [0, 4])
def test_a_second_refresh_finds_what_the_first_one_did(layout):
    batch, method = tiny.random_batch(2), _made(layout=layout)
    _, once = _refreshed(method, batch)
    _, again = _refreshed(method, batch, extra=once)
    jax.tree.map(np.testing.assert_array_equal, again, once)


def _by_scipy(method, extra, image):
    """log p(colours and places of a pixel, cluster) of whole images: (images, height, width, clusters)."""
    vectors = np.float64(image) / 255
    if method.layout:
        boxes = jnp.tile(jnp.array([0.0, 0, 1, 1]), (len(image), 1))
        vectors = np.concatenate([vectors, extra['layout'].at(*image.shape[1:3], boxes)], -1)
    vectors = (vectors - np.asarray(extra['offset'])) / np.asarray(extra['scale'])
    shares, first, second = (np.float64(part) for part in extra['moments'])
    means = first / shares[:, None]
    covariances = second / shares[:, None, None] - np.einsum('kc,kd->kcd', means, means)
    pooled = np.einsum('k,kcd->cd', shares, covariances)
    floor = 1e-4 * np.eye(len(pooled))
    joint = [
        np.log(share)
        + stats.multivariate_normal(mean, (1 - method.shrinkage) * covariance + method.shrinkage * pooled + floor).logpdf(vectors)
        for share, mean, covariance in zip(shares, means, covariances, strict=True)
    ]
    return np.stack(joint, axis=-1)


@pytest.mark.parametrize('void', [False, True])
@pytest.mark.parametrize('layout', [0, 3])
def test_the_loss_is_minus_the_log_likelihood_of_scipy_and_a_step_goes_towards_its_moments(layout, void):
    method, batch = _made(layout=layout, shrinkage=0.2), tiny.random_batch(4)
    batch = tiny.with_void(batch) if void else batch
    counted = np.asarray(batch['mask']) if void else np.ones((4, 16, 16), bool)
    params, extra = _refreshed(method, batch)
    joint = _by_scipy(method, extra, batch['image'])[counted]
    loss, (after, metrics) = _loss(method, params, extra, batch, step=3)
    np.testing.assert_allclose(loss, -logsumexp(joint, axis=-1).mean(), rtol=1e-3)
    shares = softmax(joint, axis=-1).mean(0)
    np.testing.assert_allclose(metrics['entropy'], -np.sum(shares * np.log(shares)), rtol=1e-3)
    np.testing.assert_allclose(metrics['entropy_bound'], np.log(3), rtol=1e-6)
    before, rate = np.asarray(extra['moments'].shares), 5**-0.6
    np.testing.assert_allclose(after['moments'].shares, before + rate * (shares - before), rtol=1e-3)
    unchanged = [name for name in extra if name != 'moments']
    jax.tree.map(np.testing.assert_array_equal, *({name: state[name] for name in unchanged} for state in (after, extra)))


def test_pixels_that_do_not_count_change_nothing():
    method, batch = _made(layout=4), tiny.with_void(tiny.random_batch(4))
    other = {**batch, 'image': jnp.where(batch['mask'][..., None], batch['image'], 255 - batch['image'])}
    assert bool((other['image'] != batch['image']).any())
    (params, extra), (_, changed) = (_refreshed(method, one) for one in (batch, other))
    jax.tree.map(np.testing.assert_array_equal, changed, extra)
    assert float(extra['layout'].weights.sum()) == pytest.approx(4 * 12 * 16)
    jax.tree.map(np.testing.assert_array_equal, *(_loss(method, params, extra, one) for one in (batch, other)))
    # A batch of nothing else.
    nothing = {**batch, 'mask': jnp.zeros_like(batch['mask'])}
    loss, (after, _) = _loss(method, params, extra, nothing)
    assert loss == 0
    jax.tree.map(np.testing.assert_array_equal, after, extra)


@pytest.mark.parametrize('smoothing', [0, 1, 3])
def test_smoothing_is_that_of_a_loop(smoothing):
    """The mean field of a Potts model. The last window is wider than the image."""
    method = _made(smoothing=smoothing)
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8))
    params, extra = _refreshed(method, _batch(image))
    outputs = method.predict(params, extra, image)
    joint = np.float64(outputs['logits'])
    np.testing.assert_allclose(joint, _by_scipy(method, extra, image), rtol=1e-3, atol=1e-3)
    scores = softmax(joint, axis=-1)
    for _ in range(5 if smoothing else 0):
        around = np.empty_like(scores)
        for row, column in np.ndindex(5, 7):
            rows, columns = (slice(max(0, place - smoothing), place + smoothing + 1) for place in (row, column))
            around[:, row, column] = scores[:, rows, columns].mean((1, 2))
        scores = softmax(joint + 4 * around, axis=-1)
    np.testing.assert_allclose(outputs['scores'], scores, rtol=1e-3, atol=1e-4)


def test_smoothing_leaves_images_of_one_colour_as_they_are():
    """Of two clusters, of which the smaller one is a little more likely in each pixel: nothing but this, and no share, counts."""
    joint = jnp.tile(jnp.log(jnp.array([0.95 * 0.05, 0.05 * 1.0])), (1, 9, 9, 1))
    scores = mixture._smoothed(joint, 2)
    assert np.all(scores[..., 1] > 0.5) and np.ptp(scores[..., 1]) < 1e-6


def test_smoothing_takes_noise_away():
    rng = np.random.default_rng(0)
    truth = np.zeros((2, 24, 24), bool)
    truth[:, 6:18, 6:18] = True
    batch = _batch(100 + 40 * truth[..., None] + 20 * rng.normal(size=(2, 24, 24, 3)))

    def wrong(smoothing):
        method = _made(num_clusters=2, smoothing=smoothing)
        clusters = _clusters(method, *_trained(method, batch, 10), batch['image']) == 1
        return min(np.mean(clusters != truth), np.mean(clusters == truth))

    assert wrong(0) > 0.03 and wrong(1) < wrong(0) / 2


def test_a_batch_in_parts_moves_the_moments_as_the_whole_does():
    method, batch = _made(layout=4), tiny.random_batch(4)
    params, extra = _refreshed(method, batch)
    parts = jax.tree.map(lambda leaf: leaf.reshape(2, 2, *leaf.shape[1:]), batch)
    (expected, (after, _)), _ = gradients.of_batch(method, params, extra, batch, key=KEY, time=tiny.BEGINNING)
    (loss, (found, _)), _ = gradients.of_parts(method, params, extra, parts, key=KEY, time=tiny.BEGINNING)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, after)


@pytest.mark.parametrize(
    ('relative', 'layout', 'smoothing', 'reach'),
    [('none', 0, 0, 0), ('none', 0, 2, 10), ('mean', 0, 2, None), ('none', 4, 0, None), ('mean', 4, 2, None)],
)
def test_it_says_what_its_predictions_depend_on(relative, layout, smoothing, reach):
    method = _made(relative, layout=layout, smoothing=smoothing)
    assert (method.reach, method.tiled, method.uses_place) == (reach, reach is not None, layout > 0)


def test_predictions_reach_as_far_as_is_said():
    """A pixel that changes is noticed there, and no further."""
    method = _made(smoothing=1)
    image = tiny.random_batch(1, side=24)['image']
    params, extra = _refreshed(method, _batch(image))
    predict = jax.jit(method.predict, compiler_options=tiny.QUICK)
    one, other = (
        predict(params, extra, changed)['scores'] for changed in (image, image.at[0, 12, 12].set(255 - image[0, 12, 12]))
    )
    rows, columns = np.nonzero(np.asarray(jnp.abs(one - other).max(-1))[0])
    furthest = max(np.abs(rows - 12).max(), np.abs(columns - 12).max())
    assert 1 < furthest <= method.reach == 5


def test_what_it_tells_people_are_the_entropy_and_its_bound():
    remark = _made().describe({'entropy': 0.5, 'entropy_bound': 1.0986, 'loss': 1.0})
    assert remark.words == 'H(y) 0.500 of at most 1.099 nats' and not remark.warning


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'layout': -1}, r'method\.layout is at least 0, found -1'),
        ({'smoothing': -2}, r'method\.smoothing is at least 0, found -2'),
        ({'shrinkage': -0.1}, r'method\.shrinkage is 0 to 1, found -0\.1'),
        ({'shrinkage': 1.5}, r'method\.shrinkage is 0 to 1, found 1\.5'),
        ({'num_clusters': 1}, r'method\.num_clusters is 2 to 255, found 1'),
        ({'initial_batches': 0}, r'method\.initial_batches is at least 1, found 0'),
        ({'vectors_of_image': -1}, r'method\.vectors_of_image is at least 0, found -1'),
    ],
)
def test_what_cannot_be_is_explained(options, message):
    with pytest.raises(UserError, match=message):
        _made(**options)


def _with_encoder(**options):
    """Of colours and of components of a ViT with random weights, on images of 16 pixels with cells of 2."""
    model = common.vit() | {
        'patch': 4,
        'width': 6,
        'depth': 1,
        'attention_heads': 2,
        'grid': 3,
        'normalise': 'none',
        'magnify': 2,
    }
    return build.method({'method': common.mixture() | SMALL | {'components': 3} | options, 'model': model})


def test_components_are_those_of_what_tokens_say_beyond_their_image():
    """By numpy: the directions of the largest variance within images, the first one with a variance of 1, at the pixels."""
    method, batch = _with_encoder(), tiny.random_batch(4)
    params, extra = _refreshed(method, batch)
    image = batch['image'].astype(jnp.float32) / 255
    tokens = np.float64(method.model.apply({'params': params['network']}, image)['features'])
    assert tokens.shape == (4, 8, 8, 6)
    within = (tokens - tokens.mean((1, 2), keepdims=True)).reshape(-1, 6)
    variances, directions = np.linalg.eigh(within.T @ within / len(within))
    directions = directions[:, ::-1][:, :3]
    directions *= np.sign(np.take_along_axis(directions, np.abs(directions).argmax(0)[None], axis=0)) / np.sqrt(variances[-1])
    cells = (within @ directions).reshape(4, 8, 8, 3).astype(np.float32)
    expected = method.model.to_pixels(jnp.asarray(cells), 16, 16)
    features = method.predict(params, extra, batch['image'])['features']
    np.testing.assert_allclose(features[..., 3:], expected, atol=1e-3)
    colours = (np.asarray(image) - np.asarray(extra['offset'])[:3]) / np.asarray(extra['scale'])[:3]
    np.testing.assert_allclose(features[..., :3], colours, atol=1e-5)


def test_training_starts_from_k_means_of_components_and_does_not_change_the_encoder():
    method, batch = _with_encoder(), tiny.random_batch(4)
    params, extra = _refreshed(method, batch)
    components = np.asarray(method.predict(params, extra, batch['image'])['features'])[..., 3:].reshape(-1, 3)
    shares = np.asarray(extra['moments'].shares)
    centres = np.asarray(extra['moments'].first)[:, 3:] / shares[:, None]
    nearest = np.argmin(((components[:, None] - centres[None]) ** 2).sum(-1), axis=1)
    found = np.bincount(nearest, minlength=3) / len(nearest)
    np.testing.assert_allclose(found, shares, atol=0.02)  # Lloyd's algorithm has all but converged
    (_, (after, _)), moved = gradients.of_batch(method, params, extra, batch, key=KEY, time=tiny.BEGINNING)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(moved))
    assert np.any(after['moments'].first != extra['moments'].first)


def test_there_are_no_more_components_than_features():
    method = _with_encoder(components=7)
    with pytest.raises(UserError, match=r'method.components is at most the 6 channels .* found 7'):
        method.init(jax.random.key(0), tiny.random_batch()['image'])
