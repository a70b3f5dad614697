"""The two views of a batch: what the network sees of each, and that its answers come back in image orientation."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from ar_seg_jax import orderings
from ar_seg_jax.augmentations import inputs
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Normalisation
from ar_seg_jax.methods.scans import Views
from tests.support import tiny

# What may happen to a square image, and how it is undone.
_TURNS = [(lambda x, k=k: np.rot90(x, k, (0, 1)), lambda x, k=k: np.rot90(x, -k, (0, 1))) for k in range(4)]
_MIRRORED = [(lambda x, do=do: do(x)[:, ::-1], lambda x, undo=undo: undo(x[:, ::-1])) for do, undo in _TURNS]
GROUP = {'flip': [_TURNS[0], _MIRRORED[0]], 'turn': _TURNS, 'all': _TURNS + _MIRRORED}


AS_THEY_ARE = Normalisation()
PLAIN = {
    'orderings': ('A1',),
    'sampling': 'random',
    'candidates': 4,
    'transformations': 'none',
    'sobel': False,
    'common_taps_only': False,
}


class Witness(nn.Module):
    """A network that tells what it sees: the image, the coordinates at which it sees it, its dropout and its scan."""

    normalisation: Normalisation

    heads, output_stride, first_cell, reach, dtype = FrozenDict(), 1, 0.0, 0, jnp.float32

    def __call__(self, image, *, train=False):
        raise NotImplementedError  # for the unmasked network, which no view asks for

    to_pixels = used_taps = __call__

    @nn.compact
    def scan(self, image, views, *, train):
        batch, height, width, _ = image.shape
        places = jnp.stack(jnp.meshgrid(jnp.arange(height * 1.0), jnp.arange(width * 1.0), indexing='ij'), -1)
        places = jnp.broadcast_to(places[None], (batch, height, width, 2))
        noise = nn.Dropout(0.5, deterministic=not train)
        flips = [jnp.full((batch, 1, 1, 1), 2.0 * view.flip_rows + view.flip_columns) for view in views]
        return [{'image': image, 'places': places, 'noise': noise(jnp.ones_like(image)), 'scan': scan} for scan in flips]


class Plain(Witness):
    """One that cannot follow orderings."""

    scan = None

    @nn.compact
    def __call__(self, image, *, train=False):
        (seen,) = Witness.scan(self, image, [orderings.by_name('A1')], train=train)
        return seen


def _views(**options):
    return Views(**{**PLAIN, **options})


@functools.cache
def _witnessed(normalisation, **options):
    """What the network sees of both views of images, compiled."""
    views, witness = _views(**options), (Witness if options.get('orderings', True) else Plain)(normalisation)

    def witnessed(image, key, part):
        seen = {'read': lambda maps: maps, 'loss_of': lambda *_: jnp.zeros(())}
        return views.outputs(witness, {}, image, **seen, key=key, part=part)[:2]

    return jax.jit(witnessed, compiler_options=tiny.QUICK)


def _seen(images, seed=0, part=0, normalisation=AS_THEY_ARE, **options):
    return jax.tree.map(np.asarray, _witnessed(normalisation, **options)(images, jax.random.key(seed), part))


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
    images = tiny.random_batch(40, side=6, channels=4)['image']
    first, second = _seen(images, transformations=kind)
    np.testing.assert_allclose(first['image'], np.float32(images) / 255, rtol=1e-6)
    np.testing.assert_array_equal(first['places'], np.broadcast_to(np.stack(np.mgrid[:6, :6], -1), (40, 6, 6, 2)))
    changed = slice(3, 4) if kind == 'all' else slice(0, 4)  # 'all' has jitter, which leaves the fourth channel alone
    np.testing.assert_array_equal(second['image'][..., changed], first['image'][..., changed])
    assert set(_drawn(kind, second['places'])) == set(range(len(GROUP[kind])))


@pytest.mark.parametrize('kind', ['jitter', 'all'])
def test_only_the_colours_of_the_second_view_are_jittered(kind):
    images = tiny.random_batch(8, side=6, channels=4)['image']
    first, second = _seen(images, transformations=kind)
    np.testing.assert_allclose(first['image'], np.float32(images) / 255, rtol=1e-6)
    moved = np.abs(second['image'] - first['image']).max(axis=(1, 2))
    assert (moved[:, :3].max(axis=1) > 0.01).all() and (moved[:, 3] == 0).all()
    assert second['image'].min() >= 0 and second['image'].max() <= 1


@pytest.mark.parametrize('kind', GROUP)
def test_without_orderings_views_differ_by_their_changes_alone(kind):
    images = tiny.random_batch(6, side=6)['image']
    with_one, without = (_seen(images, transformations=kind, orderings=names) for names in (('A1',), ()))
    for ordered, plain in zip(with_one, without, strict=True):
        np.testing.assert_array_equal(plain['image'], ordered['image'])
        np.testing.assert_array_equal(plain['places'], ordered['places'])


def test_gradients_for_the_network_are_those_of_the_turned_image():
    images, views = tiny.random_batch(6, side=6)['image'], _views(sobel=True)
    first, second = _seen(images, transformations='turn', sobel=True)
    drawn = _drawn('turn', second['places'])
    assert len(set(drawn)) > 1
    for index, one, other in zip(drawn, first['image'], second['image'], strict=True):
        do, undo = GROUP['turn'][index]
        turned = jnp.asarray(np.uint8(np.rint(255 * do(one[..., :3]))))
        np.testing.assert_allclose(other, undo(np.asarray(views.input(Witness(AS_THEY_ARE), turned[None]))[0]), atol=1e-5)


def test_views_and_parts_have_their_own_changes_and_dropout():
    images = tiny.random_batch(8, side=6)['image']
    for kind in ('none', 'all'):
        first, second = _seen(images, transformations=kind)
        assert not np.array_equal(first['noise'], second['noise'])
        again, part, step = (_seen(images, transformations=kind, part=part, seed=seed) for part, seed in ((0, 0), (1, 0), (0, 1)))
        np.testing.assert_array_equal(again[1]['noise'], second['noise'])
        for other in (part, step):
            assert not np.array_equal(other[0]['noise'], first['noise'])
            assert not np.array_equal(other[1]['noise'], second['noise'])
            assert np.array_equal(other[1]['places'], second['places']) == (kind == 'none')


def test_all_parts_of_a_step_have_its_pair_of_orderings():
    """The first scan of A1, B1, C3 and D3 has no flips, the others one of columns, of rows, and both."""
    images, pairs = tiny.random_batch(2, side=6)['image'], set()
    for seed in range(12):
        found = [_seen(images, seed, part, orderings=('A1', 'B1', 'C3', 'D3')) for part in range(3)]
        (pair,) = {tuple(int(scan) for view in views for scan in np.unique(view['scan'])) for views in found}
        pairs.add(pair)
    assert len(pairs) > 6 and all(len(pair) == 2 for pair in pairs)


def test_views_of_turned_images_are_those_computed_one_after_the_other():
    """Two passes: the second normalises its own images, and the running statistics have seen both."""
    method, batch, key = tiny.ac(orderings='A1', transformations='turn'), tiny.random_batch(4), jax.random.key(2)
    params, extra = jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), batch['image'])

    def read(maps):
        return {**maps, 'scores': tiny.scores(maps['decoder'], 16, 16)}

    first, second, updated = jax.jit(
        lambda image: method.views.outputs(
            method.model,
            {'params': params, **extra},
            image,
            read=read,
            loss_of=lambda *_: jnp.zeros(()),
            key=key,
            part=0,
        ),
        compiler_options=tiny.QUICK,
    )(batch['image'])
    drawn = [GROUP['turn'][index] for index in _drawn('turn', _seen(batch['image'], 2, transformations='turn')[1]['places'])]
    image = np.float32(batch['image']) / 255
    changed = np.stack([do(one) for (do, _), one in zip(drawn, image, strict=True)])
    assert np.abs(changed - image).max() > 0.1

    def apply(statistics, image):
        run = {'train': True, 'mutable': ['batch_stats'], 'method': 'scan'}
        (maps,), updated = method.model.apply({'params': params, **statistics}, image, [orderings.by_name('A1')], **run)
        return read(maps), updated

    apply = jax.jit(apply, compiler_options=tiny.QUICK)
    expected_first, once = apply(extra, image)
    expected_second, twice = apply(once, changed)
    assert set(first) == set(second) == {'features', 'decoder', 'scores'}
    for name, found in first.items():
        np.testing.assert_allclose(found, expected_first[name], rtol=1e-4, atol=1e-5)
        upright = np.stack([undo(one) for (_, undo), one in zip(drawn, np.asarray(expected_second[name]), strict=True)])
        np.testing.assert_allclose(second[name], upright, rtol=1e-4, atol=1e-5)
    tiny.assert_trees_close(updated, twice, rtol=1e-5)
    moved = jax.tree.map(lambda one, two: float(jnp.abs(one - two).max()), once, twice)
    assert max(jax.tree.leaves(moved)) > 1e-4


def test_hard_loss_takes_the_pair_of_the_highest_loss_of_its_candidates():
    names, batch = ('A1', 'B4', 'D3', 'C2'), tiny.random_batch(4)
    method = tiny.ac(orderings=','.join(names), sampling='hard_loss', candidates=3)
    params, extra = jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), batch['image'])
    params = {**params, 'decoder': jax.tree.map(lambda leaf: 3 * leaf, params['decoder'])}

    @jax.jit
    def of_pair(pair_key):
        pair = orderings.sample_pair(pair_key, orderings.stack(names), 'no_repetition')

        def loss(params):
            run = {'train': True, 'mutable': ['batch_stats'], 'method': 'scan'}
            views, _ = method.model.apply({'params': params, **extra}, jnp.float32(batch['image']) / 255, pair, **run)
            return method.information(*(tiny.scores(view['decoder'], 16, 16) for view in views))[0]

        return jax.value_and_grad(loss)(params)

    # Compiled here, so that one program finds all of them.
    step, places = tiny.stepper(method).lower(params, extra, batch, jax.random.key(0)).compile(), []
    for seed in range(4):
        key = jax.random.key(seed)
        candidates = [of_pair(pair_key) for pair_key in jax.random.split(jax.random.split(key)[0], 3)]
        losses = [float(loss) for loss, _ in candidates]
        places.append(int(np.argmax(losses)))
        (loss, _), gradients = step(params, extra, batch, key)
        np.testing.assert_allclose(loss, max(losses), rtol=1e-4)
        assert max(losses) - min(losses) > 1e-3 * abs(max(losses))
        tiny.assert_trees_close(gradients, candidates[places[-1]][1], rtol=1e-2)
    assert len(set(places)) > 1


def test_the_network_sees_images_in_the_form_it_was_made_for():
    """Colours are changed before that, and gradients are those of images in [0, 1]."""
    images, normalisation = tiny.random_batch(3, side=6)['image'], Normalisation((0.4, 0.5, 0.6), (0.2, 0.3, 0.5))
    plain, seen = (_seen(images, transformations='jitter', normalisation=form) for form in (AS_THEY_ARE, normalisation))
    for before, after in zip(plain, seen, strict=True):
        expected = (before['image'] - np.array(normalisation.mean)) / np.array(normalisation.deviation)
        np.testing.assert_allclose(after['image'], expected, rtol=1e-4, atol=1e-5)
    completed = _views(sobel=True).input(Witness(normalisation), images)
    np.testing.assert_allclose(completed[..., :3], seen[0]['image'], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        completed, inputs.append_sobel(jnp.asarray(seen[0]['image']), images / jnp.float32(255)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'candidates': 0}, r'method\.candidates is at least 1, found 0'),
        ({'orderings': ('A1',), 'sampling': 'hard_loss'}, 'needs at least two orderings, found one'),
        ({'orderings': ()}, "'none' makes both views alike; set method.transformations to jitter, flip, turn or all"),
        (
            {'orderings': (), 'transformations': 'flip', 'sampling': 'hard'},
            "leave method.sampling 'random' .* found 'hard' and False",
        ),
        (
            {'orderings': (), 'transformations': 'flip', 'common_taps_only': True},
            "and method.common_taps_only False; found 'random' and True",
        ),
        ({'orderings': ('A1', 'Z9')}, "no ordering is called 'Z9'; the names are A1, "),
    ],
)
def test_views_that_cannot_be_are_explained(options, message):
    with pytest.raises(UserError, match=message):
        _views(**options)


def test_hard_loss_and_micro_batches_exclude_each_other():
    method = tiny.ac(sampling='hard_loss')
    method.check((8, 16, 16, 3), 1)
    with pytest.raises(UserError, match=r"'hard_loss' compares losses of whole batches; set pipeline\.micro_batches to 1"):
        method.check((8, 16, 16, 3), 2)


@pytest.mark.parametrize('kind', ['flip', 'turn', 'all'])
def test_images_are_turned_only_where_cells_stay_cells(kind):
    method = tiny.ac(transformations=kind)
    method.check((8, 16, 16, 3), 2)
    with pytest.raises(UserError, match=rf"'{kind}' needs a crop .* set pipeline\.crop_size to a multiple of 4, found 18, 18"):
        method.check((8, 18, 18, 3), 2)
    tiny.ac(transformations='jitter').check((8, 18, 18, 3), 2)


def test_only_what_turns_crops_needs_squares():
    unordered = {'orderings': 'none', 'transformations': 'flip'}
    tiny.ac(**unordered).check((8, 16, 24, 3), 1)
    with pytest.raises(UserError, match=r"^method\.transformations 'flip' needs a crop .* found 16, 22$"):
        tiny.ac(**unordered).check((8, 16, 22, 3), 1)
    for options, turning in (({}, 'orderings'), ({**unordered, 'transformations': 'all'}, r"method\.transformations 'all'")):
        with pytest.raises(UserError, match=rf'^{turning} turn crops, which must be squares: .* found 16, 24$'):
            tiny.ac(**options).check((8, 16, 24, 3), 1)


@pytest.mark.parametrize('kind', ['jitter', 'flip'])
def test_without_orderings_crops_need_not_be_squares(kind):
    method, batch = tiny.ac(orderings='none', transformations=kind), tiny.random_batch(2, side=24)
    batch = {name: array[:, :16] for name, array in batch.items()}
    params, extra = jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), batch['image'])
    (loss, _), gradients = tiny.stepper(method)(params, extra, batch, jax.random.key(1))
    assert np.isfinite(loss) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
