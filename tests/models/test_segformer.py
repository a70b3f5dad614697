"""SegFormer: its sizes, where its cells look, what is random in training. That it computes what torch does is in
training/test_published.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict
from scipy import ndimage

from ar_seg_jax.errors import UserError
from ar_seg_jax.models import segformer
from ar_seg_jax.models.segformer import Block, Decoder, Encoder, Form, SegFormer
from configs import common
from tests.support import tiny

TINY = {'widths': (4, 4, 10, 8), 'depths': (1, 1, 1, 1)}
# Parameters of the encoder; of decode head and classifier, with as many channels as AST has for CLEVR, CLEVRTEX, ShapeStacks and
# ObjectsRoom.
COUNTS = {
    'B0': (3_319_392, (406_060, 406_317, 405_032, 404_518)),
    'B1': (13_151_424, (537_132, 537_389, 536_104, 535_590)),
    'B2': (24_196_288, (3_184_172, 3_184_941, 3_181_096, 3_179_558)),
    'B3': (44_072_128, (3_184_172, 3_184_941, 3_181_096, 3_179_558)),
    'B4': (60_842_688, (3_184_172, 3_184_941, 3_181_096, 3_179_558)),
    'B5': (81_443_008, (3_184_172, 3_184_941, 3_181_096, 3_179_558)),
}
HEADS = [(10, 34), (10, 35), (6, 34), (3, 35)]  # slots K, and d + 1 + S
IMAGE = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 64, 48, 3)), jnp.float32)


def made(**options):
    chosen = {**common.segformer(), 'variant': 'B0', **options}
    del chosen['name']
    heads = chosen.pop('heads', {'attention': 3, 'appearance': 4})
    return SegFormer(heads=FrozenDict(heads), **chosen)


@pytest.fixture(scope='module')
def tiny_b0():
    """B0 with a few channels: its variables, and its maps of IMAGE."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(segformer.FORMS, 'B0', Form(**TINY, decoder_width=6))
        variables = tiny.variables_of(made(), IMAGE)
        yield variables, applied(made(), variables, IMAGE)


def encoder(**options):
    return Encoder(**{**TINY, 'drop_path': 0.0, 'dtype': 'float32', 'remat': False, **options})


def applied(module, variables, *arguments, **options):
    return jax.jit(lambda *arguments: module.apply(*arguments, **options), compiler_options=tiny.QUICK)(variables, *arguments)


def trained(module, variables, x):
    """What it computes in training, by the number of the key of what is dropped."""

    def apply(variables, key):
        return module.apply(variables, x, train=True, mutable=['batch_stats'], rngs={'dropout': key})

    program = jax.jit(apply, compiler_options=tiny.QUICK)
    return lambda seed: program(variables, jax.random.key(seed))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize('variant', COUNTS)
def test_parameters_are_as_many_as_published(variant):
    encoder_count, head_counts = COUNTS[variant]
    widths = dict(zip(('attention', 'appearance'), HEADS[0], strict=True))
    variables = jax.eval_shape(made(variant=variant, heads=widths).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    params = variables['params']
    assert count(params['encoder']) == encoder_count
    assert count(params) - encoder_count == head_counts[0]
    features = segformer.FORMS[variant].decoder_width
    for pair, expected in zip(HEADS, head_counts, strict=True):
        assert count(params['decode_head']) + (features + 1) * sum(pair) == expected
    if variant == 'B0':  # with the 150 classes of ADE20K
        assert encoder_count + count(params['decode_head']) + (features + 1) * 150 == 3_752_694


def test_features_have_a_stride_of_4_and_heads_are_linear_maps_of_them(tiny_b0):
    variables, found = tiny_b0
    assert found['features'].shape == (2, 16, 12, 6)
    for name, width in made().heads.items():
        head = jax.tree.map(np.asarray, variables['params'][name])
        assert head['kernel'].shape == (6, width)
        expected = np.asarray(found['features']) @ head['kernel'] + head['bias']
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)


def test_images_that_are_smaller_than_a_window_have_features(tiny_b0):
    """Also of sides that no stride divides."""
    variables, _ = tiny_b0
    found = applied(made(), variables, IMAGE[:, :14, :11])['features']
    assert found.shape == (2, 4, 3, 6) and np.isfinite(found).all() and np.ptp(found) > 0
    assert made().to_pixels(found, 14, 11).shape == (2, 14, 11, 6)


def test_cells_of_all_stages_look_at_the_pixels_at_multiples_of_their_stride():
    """Without blocks, which look everywhere."""
    module = encoder(depths=(0, 0, 0, 0))
    image = jnp.asarray(np.random.default_rng(1).uniform(size=(1, 1, 256, 3)), jnp.float32)
    variables = tiny.variables_of(module, image)

    @jax.jit
    def seen(image):
        return jax.jacobian(lambda image: [maps[0, 0, maps.shape[2] // 2, 0] for maps in module.apply(variables, image)])(image)

    for stage, slope in enumerate(seen(image)):
        places = np.flatnonzero(np.abs(slope[0, 0]).sum(axis=-1))
        assert (places.min() + places.max()) / 2 == 128
        assert places.max() - 128 == 2 ** (stage + 2) - 1


def test_later_stages_are_brought_to_the_first_where_they_are_or_as_published():
    """Half-pixel centres displace the cells of the second stage by half a cell of the first, those of the fourth by 3.5."""
    rng = np.random.default_rng(2)
    for stage, cells in enumerate((12, 6, 3, 2)):
        maps = rng.normal(size=(1, cells, cells, 1)).astype(np.float32)
        for interpolation, displaced in (('centred', 0), ('paper', (12 / cells - 1) / 2)):
            found = Decoder(1, interpolation, 'float32')._as_fine(jnp.asarray(maps), 2**stage, 12, 12)
            step = 2**stage if interpolation == 'centred' else 12 / cells
            places = np.meshgrid(*[(np.arange(12) - displaced) / step] * 2, indexing='ij')
            expected = ndimage.map_coordinates(maps[0, :, :, 0], places, order=1, mode='nearest')
            np.testing.assert_allclose(found[0, :, :, 0], expected, atol=1e-5)


def test_drop_path_leaves_out_a_part_of_a_block_for_whole_images():
    """And is made up for by the others, so that the mean stays."""
    module = Block(1, 2, 0.25, 'float32')
    x = jnp.asarray(np.random.default_rng(3).normal(size=(64, 4, 4, 6)), jnp.float32)
    variables = tiny.variables_of(module, x)
    for name in ('attention_output', 'mlp_1'):  # one part at a time
        silent = jax.tree.map(jnp.zeros_like, variables['params'][name])
        changed = {'params': {**variables['params'], name: silent}}
        whole = np.asarray(applied(module, changed, x) - x)
        found = np.asarray(trained(module, changed, x)(0)[0] - x)
        dropped = np.abs(found).max(axis=(1, 2, 3)) == 0
        assert 4 <= dropped.sum() <= 28  # of 64, with a mean of 16 and a deviation of 3.5
        np.testing.assert_allclose(found[~dropped], whole[~dropped] / 0.75, rtol=1e-3, atol=1e-4)


def test_blocks_are_dropped_more_and_more_often(monkeypatch):
    rates = []
    monkeypatch.setattr(Block, '__call__', lambda self, x, *, train: rates.append(self.drop_path) or x)
    jax.eval_shape(encoder(depths=(1, 1, 1, 2), drop_path=0.2).init, jax.random.key(0), IMAGE)
    np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.15, 0.2])


def test_dropout_is_of_the_features_in_training_and_follows_from_its_key(tiny_b0):
    variables, _ = tiny_b0
    run = trained(made(dropout=0.5, drop_path=0.0), variables, IMAGE)
    (one, updated), (again, _), (other, _) = run(0), run(0), run(1)
    jax.tree.map(np.testing.assert_array_equal, one, again)
    one, other = np.asarray(one['features']), np.asarray(other['features'])
    kept = (one != 0) & (other != 0)
    np.testing.assert_array_equal(one[kept], other[kept])
    assert 0.2 < kept[(one > 0) | (other > 0)].mean() < 0.5  # both of two, where either is: a third
    before, after = (tree['batch_stats']['decode_head']['norm']['mean'] for tree in (variables, updated))
    assert np.abs(after - before).min() > 0


def test_blocks_that_are_computed_again_have_the_same_gradient():
    """Also what is dropped is the same."""
    found = []
    for remat in (False, True):
        module = encoder(depths=(0, 0, 0, 2), remat=remat, drop_path=0.5)
        variables = tiny.variables_of(module, IMAGE)

        def loss(params, module=module):
            maps = module.apply({'params': params}, IMAGE, train=True, rngs={'dropout': jax.random.key(0)})
            return sum(jnp.sum(jnp.tanh(each)) for each in maps)

        found.append(jax.jit(jax.grad(loss), compiler_options=tiny.QUICK)(variables['params']))
        assert ('remat' in str(jax.make_jaxpr(loss)(variables['params']))) == remat
    tiny.assert_trees_close(*found, rtol=1e-3)


def test_bfloat16_is_near_float32_and_heads_are_float32(tiny_b0):
    variables, exact = tiny_b0
    near = applied(made(dtype='bfloat16'), variables, IMAGE)
    assert near['features'].dtype == jnp.bfloat16 and near['attention'].dtype == jnp.float32
    assert np.abs(near['features'] - exact['features']).max() < 0.05 * np.abs(exact['features']).max()


@pytest.mark.parametrize('name', ['dropout', 'drop_path'])
def test_what_is_no_rate_is_refused(name):
    with pytest.raises(UserError, match=rf'^model\.{name} is a rate in \[0, 1\), found 1\.0$'):
        made(**{name: 1.0})
