"""AST: its loss and its predictions put together from its parts, its phases, and what it refuses."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax import build
from ar_seg_jax.epochs import Phase, Time
from ar_seg_jax.errors import UserError
from ar_seg_jax.methods import ast
from ar_seg_jax.models import glimpses, slots
from ar_seg_jax.objectives.scenes import Means
from ar_seg_jax.training import gradients
from configs import ast_clevr, ast_clevrtex, ast_video_fixed, ast_video_moving
from tests.support import scenes, tiny

KEY = jax.random.key(0)


def _at(step):
    return Time(jnp.int32(step), jnp.int32(0))


def _init(method):
    return jax.jit(method.init, compiler_options=tiny.QUICK)(KEY, tiny.random_batch()['image'])


def _predict(method, *arguments):
    return jax.jit(method.predict, compiler_options=tiny.QUICK)(*arguments)


@pytest.fixture(scope='module')
def method():
    return scenes.method(dropout=0.0, largest_scale=4.0)


@pytest.fixture(scope='module')
def state(method):
    params, extra = _init(method)
    # Slots that can be seen, and a background that is no plain grey.
    params = {**params, 'background_activation': {'logit': jnp.float32(-0.5)}}
    return {**params, 'background': {'logits': jax.random.normal(KEY, params['background']['logits'].shape)}}, extra


@pytest.fixture(scope='module')
def compute():
    """Loss, new extra, metrics and gradients of a stage at a step."""

    def of(method, params, extra, batch, time):
        return jax.value_and_grad(lambda params: gradients.loss(method, params, extra, batch, key=KEY, time=time), has_aux=True)(
            params
        )

    return jax.jit(of, static_argnums=0, compiler_options=tiny.QUICK)


def _counts(config):
    """Parameters of each group."""
    method = build.method(config)
    params, _ = jax.eval_shape(method.init, KEY, jax.ShapeDtypeStruct((1, *method.image_size, 3), jnp.uint8))
    return {name: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(part)) for name, part in params.items()}


def test_the_whole_has_the_parameters_of_the_supplement():
    """Of CLEVR."""
    counts = _counts(ast_clevr.get_config().to_dict())
    assert counts == {
        'background': 12_922_024,
        'network': 44_072_128 + 3_184_172,
        'slots': 3_181_348,
        'glimpses': 191_476,
        'background_activation': 1,
    }
    assert sum(counts.values()) - counts['background'] == 50_629_125


@pytest.mark.parametrize(('kind', 'slots', 'width'), [(ast_video_fixed, 24, 16), (ast_video_moving, 16, 24)])
def test_videos_have_the_parameters_that_follow_from_the_supplement(kind, slots, width):
    """Its counts, for glimpses of 128 pixels and appearances of 32 numbers, less what these videos have fewer of."""
    config = kind.get_config().to_dict()
    assert config['method']['image_size'] == config['pipeline']['crop_size'] == config['data']['size'] == (200, 320)
    config['model']['variant'] = 'B0'  # is traced sooner
    channels = slots + width + 1 + 2
    latents = width + 3 + 2
    assert _counts(config) == {
        'background': 989_088 + 12_892_136,
        'network': 3_319_392 + 406_060 - (44 - channels) * 257,
        'slots': (256 * latents + 256) + 6 * 527_104 + (256 * latents + latents),
        'glimpses': 732_660 - (32 - width) * 4 * 256,
        'background_activation': 1 + 200 * 320,
    }


@pytest.mark.parametrize(
    ('kind', 'background_steps', 'steps', 'images'),
    [
        (ast_clevr, 5_000, 125_000, 2_500 * 128),
        (ast_clevrtex, 1_000_000, 125_000, 500_000 * 128),
        (ast_video_fixed, 26_667, 500_000, 10_000 * 64),
        (ast_video_moving, 64_000, 500_000, 24_000 * 64),
    ],
)
def test_the_background_sees_as_many_images_as_published_in_batches_of_the_foreground(kind, background_steps, steps, images):
    config = kind.get_config()
    assert config.method.background_steps == background_steps and config.steps == background_steps + steps
    assert 0 <= background_steps * config.pipeline.batch_size - images < config.pipeline.batch_size
    assert config.phase_optimizers.background.schedule.last == background_steps // 5
    assert config.optimizer.schedule.last == steps // 10


def _objects(method, params, extra, image):
    """Activations of the slots, and their glimpses in the image."""
    variables = {'params': params['network'], 'batch_stats': extra['batch_stats']['network']}
    maps, _ = method.model.apply(variables, image, train=True, mutable=['batch_stats'])
    latents = slots.soft_argmax(maps['attention'], maps['appearance'], 'corners')
    found = slots.split(method.transformer.apply({'params': params['slots']}, latents), 2, 1.3, 4.0)
    pictures = method.generator.apply({'params': params['glimpses']}, found.appearance)
    return found.activation, glimpses.place(pictures, found.places, *image.shape[1:3])


def test_the_loss_is_that_of_the_reconstruction_and_of_uncertain_pixels(method, state, compute):
    params, extra = state
    batch = tiny.random_batch()
    step = method.background_steps + 2  # the weight of the entropy has come to (2 / 3)^2 of its value
    (loss, (_, metrics)), _ = compute(method, params, extra, batch, _at(step))
    image = batch['image'] / jnp.float32(255)
    activation, placed = jax.jit(_objects, static_argnums=0, compiler_options=tiny.QUICK)(method, params, extra, image)
    shares = np.exp(np.asarray(activation))[:, :, None, None] * np.asarray(placed[:, :, 3])
    shares = np.concatenate([np.full((8, 1, 16, 16), math.exp(-0.5)), shares], axis=1)
    shares /= shares.sum(1, keepdims=True)
    behind = 1 / (1 + np.exp(-np.asarray(params['background']['logits'])))[None, ..., :3]
    colours = np.concatenate([np.broadcast_to(behind.transpose(0, 3, 1, 2)[:, None], (8, 1, 3, 16, 16)), placed[:, :, :3]], 1)
    drawn = np.einsum('bkhw,bkchw->bhwc', shares, colours)
    reconstruction = np.mean(np.abs(drawn - image).sum(-1) ** 2)
    entropy = np.mean((shares * np.log(shares + 1e-20)).sum(1) ** 2)
    np.testing.assert_allclose(metrics['reconstruction'], reconstruction, rtol=1e-4)
    np.testing.assert_allclose(metrics['entropy'], entropy, rtol=1e-4)
    np.testing.assert_allclose(loss, reconstruction + 0.01 * (2 / 3) ** 2 * entropy, rtol=1e-4)
    assert entropy > 0.05
    np.testing.assert_allclose(metrics['foreground'], 1 - shares[:, 0].mean(), rtol=1e-4)


def test_the_background_learns_in_its_phase_and_in_the_last_one(method, state, compute):
    batch = tiny.random_batch()
    moved = {}
    for phase in method.phases:
        (_, (extra, metrics)), found = compute(method.during(phase), *state, batch, _at(phase.begin))
        moved[phase.name] = {group for group, part in found.items() if any(leaf.any() for leaf in jax.tree.leaves(part))}
        settled = jax.tree.map(np.array_equal, extra, state[1])
        assert all(jax.tree.leaves(settled)) == (phase.name == 'background')  # statistics of the network
        assert ('reconstruction' in metrics) == (phase.name != 'background')
        assert method.describe({'loss': 0.0, **{name: float(value) for name, value in metrics.items()}}).words
    foreground = {'network', 'slots', 'glimpses', 'background_activation'}
    assert moved == {'background': {'background'}, 'foreground': foreground, 'joint': foreground | {'background'}}


@pytest.mark.parametrize(
    ('scenario', 'begins'),
    [
        ('BT', {'background': 0, 'foreground': 0, 'joint': 0}),
        ('frozen', {'background': 0, 'foreground': 2}),
        ('CT', {'background': 0, 'foreground': 2, 'joint': 4}),
    ],
)
def test_scenarios_have_their_phases(scenario, begins, state):
    method = scenes.method(scenario=scenario)
    assert {phase.name: phase.begin for phase in method.phases} == begins
    for phase in method.phases:
        frozen = {'background': set(state[0]) - {'background'}, 'foreground': {'background'}, 'joint': set()}
        assert set(phase.frozen) == frozen[phase.name]
        assert method.during(phase) == dataclasses.replace(method, stage=phase.name)
    first = begins['foreground']
    assert method.phase(0).name == ('joint' if scenario == 'BT' else 'background')
    np.testing.assert_allclose([_ramp(method, first + step) for step in range(5)], [0, 1 / 9, 4 / 9, 1, 1], rtol=1e-5)


def _ramp(method, step):
    """The share of the entropy's weight."""
    zero = Means(jnp.zeros(1), jnp.ones(1))
    outputs = {'reconstruction': zero, 'entropy': zero, 'activation': jnp.zeros(1), 'foreground': jnp.zeros(1)}
    return method.objective(outputs, {}, time=_at(step))[1]['entropy_ramp']


def test_without_a_transformer_there_is_nothing_of_it_to_freeze():
    method = scenes.method(transformer_depth=0)
    params, _ = jax.eval_shape(method.init, KEY, tiny.random_batch()['image'])
    assert set(params) == {'background', 'network', 'glimpses', 'background_activation'}
    assert method.phases[0] == Phase('background', 0, ('network', 'glimpses', 'background_activation'))


def test_a_background_of_one_image_begins_with_the_median(method, state):
    batches = [tiny.random_batch(), {'image': tiny.random_batch()['image'][:3] // 2}]
    params, extra = method.refresh(*state, iter(batches), key=KEY, time=_at(0))
    images = np.concatenate([np.asarray(batch['image']) for batch in batches])
    behind = _predict(method, params, extra, tiny.random_batch(2)['image'])['background']
    np.testing.assert_allclose(behind[0], np.clip(np.median(images, axis=0), 0.5, 254.5) / 255, rtol=1e-4)
    assert scenes.method(scenario='BT').refresh_when is None


def test_predictions_explain_the_image(method, state):
    image = tiny.random_batch(2)['image']
    found = _predict(method, *state, image)
    shapes = {name: leaf.shape for name, leaf in found.items()}
    assert shapes == {
        'scores': (2, 16, 16, 4),
        'features': (2, 4, 4, 6),
        'logits': (2, 4, 4, 3),
        'reconstruction': (2, 16, 16, 3),
        'background': (2, 16, 16, 3),
        'glimpses': (2, 3, 8, 8, 4),
        'places': (2, 3, 4),
    }
    np.testing.assert_allclose(found['reconstruction'], _composed(found), atol=1e-5)
    for name in ('reconstruction', 'background', 'glimpses'):
        assert found[name].min() >= 0 and found[name].max() <= 1


def test_specks_belong_to_the_next_best_of_what_is_large_enough():
    shares = np.random.default_rng(0).dirichlet([2.0, 2.0, 2.0, 0.3], (3, 8, 8)).astype(np.float32)
    found = np.asarray(ast.without_specks(jnp.asarray(shares), 0.2))
    for image, of_image in zip(shares, found, strict=True):
        labels = image.argmax(-1)
        large = [slot for slot in range(4) if slot == 0 or np.mean(labels == slot) >= 0.2]
        assert 1 < len(large) < 4
        for place in np.ndindex(8, 8):
            best = max(large, key=lambda slot: image[*place, slot])
            assert of_image[place].argmax() == best
            assert of_image[*place, best] == pytest.approx(
                image[*place, best] / sum(image[*place, slot] for slot in large), rel=1e-5
            )
    everything = jnp.asarray(shares)
    assert ast.without_specks(everything, 0.0) is everything
    nothing_else = np.asarray(ast.without_specks(jnp.asarray([[[[0.0, 1.0]], [[1.0, 0.0]], [[1.0, 0.0]]]]), 0.5))
    np.testing.assert_array_equal(nothing_else.argmax(-1), 0)


def test_images_have_a_height_and_a_width(compute):
    """The background and its activation are of pixels, places are shares of either side."""
    method = scenes.method(image_size=[12, 20], background_activation_map=True, dropout=0.0, largest_scale=4.0)
    batch = {'image': tiny.random_batch(side=20)['image'][:, :12]}
    method.check(batch['image'].shape, 1)
    params, extra = jax.jit(method.init, compiler_options=tiny.QUICK)(KEY, batch['image'])
    assert params['background']['logits'].shape == (12, 20, 4)
    pixels = jnp.where(jnp.arange(20)[None] < 15, -12.0, 40.0) + jnp.zeros((12, 1))
    params = {**params, 'background_activation': {**params['background_activation'], 'pixels': pixels}}
    (loss, _), found = compute(method, params, extra, batch, _at(method.background_steps + 3))
    assert loss > 0 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert found['background_activation']['pixels'].shape == (12, 20)
    found = _predict(method, params, extra, batch['image'])
    assert found['scores'].shape == (8, 12, 20, 4) and found['logits'].shape == (8, 3, 5, 3)
    assert found['scores'][:, :, 15:, 0].min() > 0.99 and found['scores'][..., 0].min() < 0.5
    np.testing.assert_allclose(found['reconstruction'], _composed(found), atol=1e-5)
    with pytest.raises(
        UserError, match=r'^AST is made for RGB images of 20 x 12 pixels \(method\.image_size\), found 12 x 20 with'
    ):
        method.check((8, 20, 12, 3), 1)


def _composed(found):
    """Background and glimpses, by their scores."""
    height, width = found['scores'].shape[1:3]
    placed = glimpses.place(found['glimpses'], found['places'], height, width)
    drawn = np.einsum('bhwk,bkchw->bhwc', found['scores'][..., 1:], placed[:, :, :3])
    return drawn + found['scores'][..., :1] * found['background']


def test_a_learned_map_of_the_background_s_activation_is_for_pixels():
    method = scenes.method(background_activation_map=True)
    params, extra = _init(method)
    rival = params['background_activation']
    assert rival['logit'] == 11 and rival['pixels'].shape == (16, 16) and not rival['pixels'].any()
    pixels = jnp.full((16, 16), -40.0).at[:8].set(40.0)
    params = {**params, 'background_activation': {**rival, 'pixels': pixels}}
    scores = _predict(method, params, extra, tiny.random_batch(1)['image'])['scores'][0]
    assert scores[:8, :, 0].min() > 0.99 and scores[8:, :, 0].min() < 0.01


def test_slots_that_stay_faint_are_told_when_the_ramp_is_over(method):
    found = {'reconstruction': 0.1, 'entropy': 0.0, 'foreground': 0.0, 'entropy_ramp': 1.0, 'activation': -3.5, 'loss': 0.1}
    assert 'objects may never appear' in method.describe(found).warning
    for change in ({'activation': -2.5}, {'entropy_ramp': 0.9}):
        assert not method.describe({**found, **change}).warning


@pytest.mark.parametrize('shape', [(2, 8, 8, 3), (2, 16, 8, 3), (2, 16, 16, 4)])
def test_other_images_are_refused(method, shape):
    message = r'^AST is made for RGB images of 16 x 16 pixels \(method\.image_size\), found '
    with pytest.raises(UserError, match=message):
        method.check(shape, 1)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(method.predict, {}, {}, jnp.zeros(shape, jnp.uint8))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'scales': 3}, r'^method\.scales is 1 or 2, found 3$'),
        ({'smallest_scale': 30.0}, r'^method\.smallest_scale is above 0 and below method\.largest_scale, found 30\.0 and 24\.0$'),
        ({'glimpse_size': 24}, r'^method\.glimpse_size is a power of two from 8 on, found 24$'),
        ({'glimpse_size': 4}, r'^method\.glimpse_size is a power of two from 8 on, found 4$'),
        ({'width': 0}, r'^method\.width is at least 1, found 0$'),
        ({'transformer_heads': 3}, r'^method\.transformer_width is a multiple of method\.transformer_heads, found 8 and 3$'),
        (
            {'smallest_object': 1.0},
            r'^method\.smallest_object is a share of an image, from 0 to below 1; found 1\.0$',
        ),
        ({'frozen_steps': -1}, r'^method\.frozen_steps is a number of steps, at least 0; found -1$'),
        ({'background': 'simple'}, r"^method\.background 'simple' has 5 to 7 layers down to one cell, and images of 16 x 16 "),
        (
            {'image_size': (16, 0)},
            r'^method\.image_size is the side of squares, or \(height, width\), in pixels, at least 1; found',
        ),
        ({'image_size': 16.5}, r'^config\.method\.image_size: expected a whole number or a list, found 16\.5$'),
        ({'scenario': 'TC'}, r"^config\.method\.scenario is one of BT, frozen, CT; found 'TC'$"),
        ({'num_clusters': 1}, r'^method\.num_clusters is 2 to 255, found 1$'),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        scenes.method(**options)
