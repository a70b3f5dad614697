"""Invariant information clustering: its views, its loss recomputed, its heads in their epochs, its sub-heads."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax import build
from ar_seg_jax.augmentations import inputs
from ar_seg_jax.epochs import Time
from ar_seg_jax.errors import UserError
from ar_seg_jax.training import gradients
from configs import common
from tests.support import tiny


def _iic(model=None, **options):
    options = {**common.iic(), 'displacement': 2, 'auxiliary_clusters': 4, 'brightness': 0.0, **options}
    return build.method({'method': options, 'model': {**common.vgg(), 'channels': 2, **(model or {})}})


def _init(method, seed=0):
    """Larger weights in the heads: their scores are further from uniform, where every loss is nearly 0."""
    params, extra = jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(seed), tiny.random_batch()['image'])
    larger = {head: {'kernel': 5 * params[head]['kernel']} for head in method.model.heads}
    return {**params, **larger}, extra


def _at(epoch):
    return Time(jnp.int32(7 * epoch), jnp.int32(epoch))


@functools.cache
def _compiled(method):
    def loss(params, extra, batch, time):
        return gradients.loss(method, params, extra, batch, key=jax.random.key(5), time=time)

    return jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=tiny.QUICK)


def _step(method, params, extra, batch, epoch):
    return _compiled(method)(params, extra, batch, _at(epoch))


def _maps(method, image, variables):
    """What the model makes of images in [0, 1] in training, and the statistics after it."""
    apply = functools.partial(method.model.apply, train=True, mutable=['batch_stats'])
    maps, new = jax.jit(apply, compiler_options=tiny.QUICK)(variables, inputs.append_sobel(image, image))
    return maps, new['batch_stats']


def _information(p, q, window, mask, weight):
    """Minus the sum of P (log P - w log p_i - w log p_j), averaged over displacements, in numpy."""
    p, q = (np.asarray(maps, np.float64) * np.asarray(mask)[..., None] for maps in (p, q))
    rows, columns = p.shape[1:3]
    losses = []
    for down in range(-window, window + 1):
        for right in range(-window, window + 1):
            here = np.s_[:, max(0, -down) : rows - max(0, down), max(0, -right) : columns - max(0, right)]
            there = np.s_[:, max(0, down) : rows - max(0, -down), max(0, right) : columns - max(0, -right)]
            joint = np.einsum('bhwk,bhwl->kl', p[here], q[there])
            joint = (joint + joint.T) / (2 * joint.sum())
            first, second = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
            losses.append(-np.sum(joint * (np.log(joint) - weight * np.log(first) - weight * np.log(second))))
    return np.mean(losses)


@pytest.mark.parametrize('geometry_', ['aligned', 'paper'])
def test_the_loss_is_that_of_two_passes_whose_second_is_flipped_back(geometry_):
    """Without colours and affine maps; every image is flipped."""
    method = _iic({'geometry': geometry_}, contrast=0.0, saturation=0.0, hue=0.0, flip=1.0, alternate=False)
    batch, (params, extra) = tiny.with_void(tiny.random_batch()), _init(method)
    (loss, (updated, metrics)), _ = _step(method, params, extra, batch, 0)
    image, scores, statistics = batch['image'] / np.float32(255), [], extra['batch_stats']
    for view in (image, image[:, :, ::-1]):
        maps, statistics = _maps(method, view, {'params': params, 'batch_stats': statistics})
        scores.append({head: method.model.to_pixels(jax.nn.softmax(maps[head]), 16, 16) for head in method.model.heads})
    expected = sum(
        _information(scores[0][head], scores[1][head][:, :, ::-1], 2, batch['mask'], weight)
        for head, weight in (('decoder_0', 1.5), ('auxiliary_decoder_0', 1.0))
    )
    assert abs(expected) > 0.01
    np.testing.assert_allclose(loss, expected, rtol=1e-3)
    tiny.assert_trees_close(updated['batch_stats'], statistics, rtol=1e-4)
    assert metrics['mutual_information_bound'] < metrics['auxiliary_mutual_information_bound']


def test_heads_are_trained_in_alternating_epochs_the_auxiliary_one_first():
    method, both = _iic(), _iic(alternate=False)
    batch, (params, extra) = tiny.random_batch(), _init(method)
    found = [_step(method, params, extra, batch, epoch) for epoch in range(3)]
    for epoch, (_, slope) in enumerate(found):
        trained, idle = ('auxiliary_decoder_0', 'decoder_0') if epoch % 2 == 0 else ('decoder_0', 'auxiliary_decoder_0')
        assert np.any(slope[trained]['kernel']) and not np.any(slope[idle]['kernel'])
        assert np.any(slope['conv_0']['kernel'])
    assert found[0][0][0] == found[2][0][0] != found[1][0][0]
    (together, _), slope = _step(both, params, extra, batch, 0)
    np.testing.assert_allclose(together, found[0][0][0] + found[1][0][0], rtol=1e-5)
    tiny.assert_trees_close(slope, jax.tree.map(jnp.add, found[0][1], found[1][1]), rtol=1e-3)


@pytest.mark.parametrize('epoch', [0, 1])
def test_an_idle_head_that_is_not_finite_does_not_reach_the_step(epoch):
    method = _iic()
    trained, idle = ('auxiliary_decoder_0', 'decoder_0') if epoch == 0 else ('decoder_0', 'auxiliary_decoder_0')
    widths, rng = method.model.heads, np.random.default_rng(0)
    outputs = {head: tuple(rng.dirichlet(np.ones(widths[head]), (2, 2, 6, 6)).astype(np.float32)) for head in widths}
    broken = {**outputs, idle: tuple(np.full_like(scores, np.nan) for scores in outputs[idle])}

    @jax.jit
    @jax.grad
    def slope(outputs):
        return method.objective(outputs, {}, time=_at(epoch))[0]

    found, expected = slope(broken), slope(outputs)
    for one, other in zip(found[trained], expected[trained], strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.any(one)
    assert not np.any(found[idle])


def test_one_head_is_the_form_that_is_scored_many_to_one():
    method = _iic(num_clusters=9, auxiliary_clusters=0)
    batch, (params, extra) = tiny.random_batch(), _init(method)
    assert set(method.model.heads) == {'decoder_0'}
    for epoch in range(2):
        (_, (_, metrics)), slope = _step(method, params, extra, batch, epoch)
        assert np.any(slope['decoder_0']['kernel'])
        assert not [name for name in metrics if name.startswith('auxiliary')]
    assert 'auxiliary' not in method.describe({name: float(value) for name, value in metrics.items()}).words


def test_losses_of_sub_heads_are_averaged_and_the_lowest_predicts():
    method, batch = _iic(sub_heads=3, alternate=False), tiny.random_batch()
    params, extra = _init(method)
    (loss, _), _ = _step(method, params, extra, batch, 0)
    forward = jax.jit(method.forward, compiler_options=tiny.QUICK)
    outputs, _ = forward(params, extra, batch, key=jax.random.key(5), time=_at(0))
    of_main = [float(method.main(*outputs[f'decoder_{number}'])[0]) for number in range(3)]
    of_auxiliary = [float(method.auxiliary(*outputs[f'auxiliary_decoder_{number}'])[0]) for number in range(3)]
    np.testing.assert_allclose(loss, np.mean(of_main) + np.mean(of_auxiliary), rtol=1e-4)
    best = int(np.argmin(of_main))
    apply, predict = (jax.jit(function, compiler_options=tiny.QUICK) for function in (method.model.apply, method.predict))
    for number in range(3):  # one after another is made the best
        swapped = {**params, 'decoder_0': params[f'decoder_{best}'], f'decoder_{best}': params['decoder_0']}
        swapped = {**swapped, 'decoder_0': swapped[f'decoder_{number}'], f'decoder_{number}': swapped['decoder_0']}
        read = method.readout(swapped, extra, iter([batch, batch]), key=jax.random.key(0))
        assert read['sub_head'] == number
        image = batch['image'] / np.float32(255)
        variables = {'params': swapped, 'batch_stats': extra['batch_stats']}
        maps = apply(variables, inputs.append_sobel(image, image))
        found = predict(swapped, read, batch['image'])
        np.testing.assert_allclose(found['logits'], maps[f'decoder_{number}'], rtol=1e-5)
        expected = method.model.to_pixels(jax.nn.softmax(maps[f'decoder_{number}']), 16, 16)
        np.testing.assert_allclose(found['scores'], expected, atol=1e-6)


def test_places_that_the_second_view_does_not_show_count_in_neither():
    """Corners of a turned image: a channel that is 1 everywhere is not, where it was brought back."""
    method = _iic(auxiliary_clusters=0, rotation=45.0)
    batch, (params, extra) = tiny.random_batch(), _init(method)
    outputs, _ = jax.jit(method.forward, compiler_options=tiny.QUICK)(params, extra, batch, key=jax.random.key(0), time=_at(0))
    first, second = (np.asarray(scores).sum(axis=-1) for scores in outputs['decoder_0'])
    np.testing.assert_allclose(first, second, atol=1e-5)
    np.testing.assert_allclose(first[:, 6:10, 6:10], 1, atol=1e-4)
    assert first[:, 0, 0].min() == 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'auxiliary_clusters': 300}, 'auxiliary_clusters is 2 to 255, or 0 for no second head; found 300'),
        ({'auxiliary_clusters': 1}, 'auxiliary_clusters is 2 to 255, or 0 for no second head; found 1'),
        ({'sub_heads': 0}, 'sub_heads is 1 to 100, found 0'),
        ({'flip': 1.5}, 'flip is a probability, 0 to 1; found 1.5'),
        ({'contrast': -0.4}, 'contrast is a number of at least 0, found -0.4'),
        ({'hue': 3.0}, 'hue is a share of the circle, 0 to 0.5; found 3.0'),
        ({'rotation': -1.0}, 'rotation is 0 to 180 degrees, found -1.0'),
        ({'shear': 90.0}, 'shear is at least 0 and less than 90 degrees, found 90.0'),
        ({'scale': 1.0}, 'scale is at least 0 and less than 1, found 1.0'),
    ],
)
def test_wrong_options_are_explained(options, message):
    with pytest.raises(UserError, match=message):
        _iic(**options)


def test_each_view_and_each_part_of_a_batch_has_dropout_of_its_own():
    """Of two views without any change; what was not dropped would be the same."""
    still = {'brightness': 0.0, 'contrast': 0.0, 'saturation': 0.0, 'hue': 0.0, 'flip': 0.0}
    method = tiny.method({**common.iic(), 'displacement': 2, **still}, {'variant': 'F4', 'dropout': 0.5})
    batch = tiny.random_batch()
    params, extra = jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), batch['image'])
    forward = jax.jit(method.forward, compiler_options=tiny.QUICK)
    scores = [forward(params, extra, batch, key=jax.random.key(1), time=_at(0), part=part)[0]['decoder_0'] for part in range(2)]
    (first, second), (other, _) = scores
    assert np.abs(first - second).max() > 1e-3 and np.abs(first - other).max() > 1e-3


def test_a_window_larger_than_the_image_is_refused_before_the_first_step():
    with pytest.raises(UserError, match='found 16 for a map of 16 x 16'):
        _iic(displacement=16).check((8, 16, 16, 3), 1)
