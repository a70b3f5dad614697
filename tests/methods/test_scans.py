"""The two views of a batch: what the network sees of each, and that its answers come back in image orientation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ar_seg_jax.methods.views import Views
from test_ac import QUICK, assert_trees_close, random_batch, stepper, tiny_ac

from ar_seg_jax import build, orderings
from configs import textures

# What may happen to a square image, and how it is undone.
_TURNS = [(lambda x, k=k: np.rot90(x, k, (0, 1)), lambda x, k=k: np.rot90(x, -k, (0, 1))) for k in range(4)]
_MIRRORED = [(lambda x, do=do: do(x)[:, ::-1], lambda x, undo=undo: undo(x[:, ::-1])) for do, undo in _TURNS]
GROUP = {'flip': [_TURNS[0], _MIRRORED[0]], 'turn': _TURNS, 'all': _TURNS + _MIRRORED}


class Witness(nn.Module):
    """A network that tells what it sees: the image, the coordinates at which it sees it, and its dropout."""

    @nn.compact
    def __call__(self, image, views, *, train):
        batch, height, width, _ = image.shape
        places = jnp.stack(jnp.meshgrid(jnp.arange(height * 1.0), jnp.arange(width * 1.0), indexing='ij'), -1)
        places = jnp.broadcast_to(places[None], (batch, height, width, 2))
        noise = nn.Dropout(0.5, deterministic=not train)
        return [{'image': image, 'places': places, 'noise': noise(jnp.ones_like(image))} for _ in views]


def _seen(images, seed=0, part=0, **fields):
    views = Views(('A1',), **fields)
    first, second, _ = jax.jit(
        lambda image: views.outputs(Witness(), {}, image, lambda *_: jnp.zeros(()), key=jax.random.key(seed), part=part),
        compiler_options=QUICK,
    )(images)
    return jax.tree.map(np.asarray, (first, second))


def _drawn(kind, places):
    """Which element of the group each image went through, from the coordinates that came back."""
    coordinates = np.stack(np.mgrid[: places.shape[1], : places.shape[2]], -1)
    drawn = []
    for found in places:
        (index,) = [index for index, (_, undo) in enumerate(GROUP[kind]) if np.array_equal(undo(coordinates), found)]
        drawn.append(index)
    return drawn


@pytest.mark.parametrize('kind', GROUP)
def test_the_second_view_is_turned_image_by_image_and_comes_back_upright(kind):
    images = random_batch(40, side=6, channels=4)['image']
    first, second = _seen(images, transformations=kind)
    np.testing.assert_allclose(first['image'], np.float32(images) / 255, rtol=1e-6)
    np.testing.assert_array_equal(first['places'], np.broadcast_to(np.stack(np.mgrid[:6, :6], -1), (40, 6, 6, 2)))
    changed = slice(3, 4) if kind == 'all' else slice(0, 4)  # 'all' has jitter, which leaves the fourth channel alone
    np.testing.assert_array_equal(second['image'][..., changed], first['image'][..., changed])
    assert set(_drawn(kind, second['places'])) == set(range(len(GROUP[kind])))


@pytest.mark.parametrize('kind', ['jitter', 'all'])
def test_only_the_colours_of_the_second_view_are_jittered(kind):
    images = random_batch(8, side=6, channels=4)['image']
    first, second = _seen(images, transformations=kind)
    np.testing.assert_allclose(first['image'], np.float32(images) / 255, rtol=1e-6)
    moved = np.abs(second['image'] - first['image']).max(axis=(1, 2))
    assert (moved[:, :3].max(axis=1) > 0.01).all() and (moved[:, 3] == 0).all()
    assert second['image'].min() >= 0 and second['image'].max() <= 1


def test_gradients_for_the_network_are_those_of_the_turned_image():
    images = random_batch(6, side=6)['image']
    first, second = _seen(images, transformations='turn', sobel=True)
    drawn = _drawn('turn', second['places'])
    assert len(set(drawn)) > 1
    for index, one, other in zip(drawn, first['image'], second['image'], strict=True):
        do, undo = GROUP['turn'][index]
        turned = np.asarray(Views(sobel=True).input(jnp.asarray(np.uint8(np.rint(255 * do(one[..., :3]))))[None]))[0]
        np.testing.assert_allclose(other, undo(turned), atol=1e-5)


def test_views_and_parts_have_their_own_changes_and_dropout():
    images = random_batch(8, side=6)['image']
    for kind in ('none', 'all'):
        first, second = _seen(images, transformations=kind)
        assert not np.array_equal(first['noise'], second['noise'])
        again, part, step = (_seen(images, transformations=kind, part=part, seed=seed) for part, seed in ((0, 0), (1, 0), (0, 1)))
        np.testing.assert_array_equal(again[1]['noise'], second['noise'])
        for other in (part, step):
            assert not np.array_equal(other[0]['noise'], first['noise'])
            assert not np.array_equal(other[1]['noise'], second['noise'])
            assert np.array_equal(other[1]['places'], second['places']) == (kind == 'none')


def test_views_of_turned_images_are_those_computed_one_after_the_other():
    """Two passes: the second normalises its own images, and the running statistics have seen both."""
    method, batch, key = tiny_ac(orderings=('A1',), transformations='turn'), random_batch(4), jax.random.key(2)
    params, extra = jax.jit(method.init, compiler_options=QUICK)(jax.random.key(0), batch['image'])
    first, second, updated = jax.jit(
        lambda image: method.views.outputs(
            method.model, {'params': params, **extra}, image, lambda *_: jnp.zeros(()), key=key, part=0
        ),
        compiler_options=QUICK,
    )(batch['image'])
    drawn = [GROUP['turn'][index] for index in _drawn('turn', _seen(batch['image'], 2, transformations='turn')[1]['places'])]
    image = np.float32(batch['image']) / 255
    changed = np.stack([do(one) for (do, _), one in zip(drawn, image, strict=True)])
    assert np.abs(changed - image).max() > 0.1
    apply = jax.jit(
        lambda statistics, image: method.model.apply(
            {'params': params, **statistics}, image, [orderings.by_name('A1')], train=True, mutable=['batch_stats']
        ),
        compiler_options=QUICK,
    )
    (expected_first,), once = apply(extra, image)
    (expected_second,), twice = apply(once, changed)
    for name, found in first.items():
        np.testing.assert_allclose(found, expected_first[name], rtol=1e-4, atol=1e-5)
        upright = np.stack([undo(one) for (_, undo), one in zip(drawn, np.asarray(expected_second[name]), strict=True)])
        np.testing.assert_allclose(second[name], upright, rtol=1e-4, atol=1e-5)
    assert_trees_close(updated, twice, rtol=1e-5)
    moved = jax.tree.map(lambda one, two: float(jnp.abs(one - two).max()), once, twice)
    assert max(jax.tree.leaves(moved)) > 1e-4


def test_hard_loss_takes_the_pair_of_the_highest_loss_of_its_candidates():
    names, batch = ('A1', 'B4', 'D3', 'C2'), random_batch(4)
    method = tiny_ac(orderings=names, sampling='hard_loss', candidates=3)
    params, extra = jax.jit(method.init, compiler_options=QUICK)(jax.random.key(0), batch['image'])
    params = {**params, 'decoder': jax.tree.map(lambda leaf: 3 * leaf, params['decoder'])}

    @jax.jit
    def of_pair(pair_key):
        pair = orderings.sample_pair(pair_key, orderings.stack(names), 'no_repetition')

        def loss(params):
            outputs, _ = method.model.apply(
                {'params': params, **extra}, jnp.float32(batch['image']) / 255, pair, train=True, mutable=['batch_stats']
            )
            return method.information(*(output['scores'] for output in outputs))[0]

        return jax.value_and_grad(loss)(params)

    step, places = stepper(method), []
    for seed in range(4):
        key = jax.random.key(seed)
        candidates = [of_pair(pair_key) for pair_key in jax.random.split(jax.random.split(key)[0], 3)]
        losses = [float(loss) for loss, _ in candidates]
        places.append(int(np.argmax(losses)))
        (loss, _), gradients = step(params, extra, batch, key)
        np.testing.assert_allclose(loss, max(losses), rtol=1e-4)
        assert max(losses) - min(losses) > 1e-3 * abs(max(losses))
        assert_trees_close(gradients, candidates[places[-1]][1], rtol=1e-2)
    assert len(set(places)) > 1 and step._cache_size() == 1


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'candidates': 0}, r'method\.candidates is at least 1, found 0'),
        ({'orderings': ('A1',), 'sampling': 'hard_loss'}, 'needs at least two orderings, found one'),
    ],
)
def test_views_that_cannot_be_are_explained(fields, message):
    with pytest.raises(ValueError, match=message):
        Views(**fields)


def test_hard_loss_and_micro_batches_exclude_each_other():
    config = textures.get_config()
    config.method.sampling = 'hard_loss'
    assert build.method(config.to_dict()).views.sampling == 'hard_loss'
    config.pipeline.micro_batches = 2
    with pytest.raises(ValueError, match=r"'hard_loss' compares losses of whole batches; set pipeline\.micro_batches to 1"):
        build.method(config.to_dict())
