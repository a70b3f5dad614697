"""The model family: sizes counted by hand, shapes, precision, and the order that whole networks keep."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ar_seg_jax import layers, orderings
from ar_seg_jax.errors import UserError
from ar_seg_jax.models.autoregressive import Stem
from ar_seg_jax.orderings import ORDERINGS, RASTER
from tests.support import tiny

NAMES = tuple(ORDERINGS)
STACK = orderings.stack(NAMES)


def shapes_of(model, height=16, width=16, channels=3):
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, height, width, channels)))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def drawn(shapes, draw):
    """Variables of given shapes: kernels are `draw(rng, shape)`, scaled so that activations keep their size; the rest is 1."""
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        if path[-1].key == 'kernel':
            # Large scores make one-hot attention, in which all but one of the positions seen have weight 0.
            scale = 1e-3 if path[-2].key == 'query' else 1
            return jnp.asarray(
                scale * draw(rng, shape.shape) / np.prod(shape.shape[:-1]) ** (0.5 if draw is signed else 1), shape.dtype
            )
        return jnp.full(shape.shape, 0.1 if path[-1].key in ('bias', 'mean') else 1, shape.dtype)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def signed(rng, shape):
    return rng.normal(size=shape)


def positive(rng, shape):
    """With positive weights and inputs no ReLU is off and nothing cancels, so every dependency shows in a Jacobian."""
    return rng.uniform(0.5, 1.5, shape)


def apply(model, variables, image, views):
    return jax.jit(lambda variables, image: model.apply(variables, image, views, method='scan'), compiler_options=tiny.QUICK)(
        variables, image
    )


# Millions of parameters in papers.md, confirmed by the reproduction report to its precision.
COUNTS = {
    (4, False, 3, 4): 13.247,
    (4, False, 6, 4): 13.250,
    (4, False, 15, 3): 13.259,
    (4, True, 3, 4): 13.510,
    (4, True, 6, 4): 13.513,
    (4, True, 15, 3): 13.522,
    (5, False, 3, 4): 53.108,
    (5, False, 6, 4): 53.115,
    (5, False, 15, 3): 53.132,
    (5, True, 3, 4): 53.371,
    (5, True, 6, 4): 53.378,
    (5, True, 15, 3): 53.395,
}


@pytest.mark.parametrize('blocks, attention, clusters, channels', COUNTS)
def test_parameters_are_as_many_as_in_the_reports(blocks, attention, clusters, channels):
    model = tiny.autoregressive(clusters, blocks=blocks, attention=attention)
    params = shapes_of(model, channels=channels)['params']
    widths = [64 * 2**block for block in range(blocks)]
    assert [count(params[f'block_{block}']) for block in range(blocks)] == [38 * width**2 + 12 * width for width in widths]
    assert count(params['stem']) == 64 * (9 * channels + 1) + 128
    assert count(params['decoder']) == (2 * widths[-1] + 1) * clusters
    projections = 3 * (256 * 128 + 128) + (128 * 256 + 256) + (512 * 256 + 256)
    assert count(params.get('attention', {})) == attention * projections
    assert round(count(params) / 1e6, 3) == COUNTS[blocks, attention, clusters, channels]


@pytest.mark.parametrize(('blocks', 'millions'), [(4, 13.379), (5, 53.240)])
def test_attention_that_is_added_has_the_parameters_of_papers_md(blocks, millions):
    model = tiny.autoregressive(blocks=blocks, attention=True, attention_merge='add')
    assert round(count(shapes_of(model, channels=4)['params']) / 1e6, 3) == millions


def test_the_blocks_have_the_parameters_of_the_table():
    params = shapes_of(tiny.autoregressive(blocks=5))['params']
    assert [count(params[f'block_{block}']) for block in range(5)] == [156_416, 624_128, 2_493_440, 9_967_616, 39_858_176]


def test_the_variants_differ_in_what_is_masked_and_not_in_their_blocks():
    f1, f2, f3, f4 = (shapes_of(tiny.autoregressive(variant=variant, blocks=3)) for variant in ('F1', 'F2', 'F3', 'F4'))
    assert f2 == f3 == f4
    assert 'batch_stats' not in f1 and count(f2['batch_stats']) == 2 * 64
    assert count(f1['params']['stem']) == (9 * 3 * 64 + 64) + (9 * 64 * 64 + 64)
    assert {name: f1['params'][name] for name in f1['params'] if name != 'stem'} == {
        name: f2['params'][name] for name in f2['params'] if name != 'stem'
    }


def test_f5_is_a_resnet_18_without_its_classifier():
    variables = shapes_of(tiny.autoregressive(7, variant='F5'))
    # 11 689 512 parameters with the 1000 classes of ImageNet, whose layer has 512 x 1000 + 1000.
    assert count(variables['params']['resnet']) == 11_689_512 - 513_000
    assert count(variables['params']['decoder']) == 513 * 7
    norms = sum(2 * width for width in [64] + 4 * [64] + 5 * [128] + 5 * [256] + 5 * [512])
    assert count(variables['batch_stats']) == norms


@pytest.mark.parametrize('output_stride', [2, 4])
@pytest.mark.parametrize('variant', ['F1', 'F2', 'F3', 'F4', 'F5'])
def test_maps_have_the_size_of_the_stride_and_scores_that_of_the_image(variant, output_stride):
    """Square images under traced orderings, odd-sized ones under static ones and without any."""
    traced = jax.tree.map(lambda flags: jnp.asarray(flags)[3], STACK)
    for blocks in (5,) if variant == 'F5' else (1, 3, 5):
        options = {'variant': variant, 'blocks': blocks, 'output_stride': output_stride}
        options['attention'] = blocks > 2 and variant != 'F5'
        model, method = tiny.autoregressive(4, **options), tiny.ac(options, num_clusters=4)
        for height, width, views in ((16, 16, [traced]), (17, 23, [ORDERINGS['zigzag_C2'], None])):
            image = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
            outputs, variables = jax.eval_shape(
                lambda image, m=model, v=views: m.init_with_output(jax.random.key(0), image, v, method='scan'), image
            )
            assert len(outputs) == len(views)
            for output in outputs:
                channels = 512 if variant == 'F5' else 64 * 2**blocks
                cells = (-(-height // output_stride), -(-width // output_stride))
                assert output['features'].shape == (2, *cells, channels)
                assert output['decoder'].shape == (2, *cells, 4)
            if blocks != 3:
                image = jax.ShapeDtypeStruct(image.shape, jnp.uint8)
                extra = {'batch_stats': variables.get('batch_stats', {})}
                scores = jax.eval_shape(method.predict, variables['params'], extra, image)['scores']
                assert scores.shape == (2, height, width, 4)


@pytest.mark.parametrize('variant', ['F1', 'F2', 'F3', 'F4', 'F5'])
def test_heads_are_linear_in_the_features_under_every_ordering(variant):
    """And orderings matter in just the variants that have something masked after the unmasked blocks."""
    model = tiny.autoregressive(3, auxiliary=5, variant=variant, blocks=2, attention=variant != 'F5')
    variables = drawn(shapes_of(model), signed)
    image = jnp.asarray(np.random.default_rng(1).uniform(size=(1, 9, 14, 3)), jnp.float32)
    outputs = apply(model, variables, image, [None, ORDERINGS['A1'], ORDERINGS['zigzag_D4']])
    for output in outputs:
        for name, width in (('decoder', 3), ('auxiliary_decoder', 5)):
            head = variables['params'][name]
            logits = output['features'] @ head['kernel'] + head['bias'][None, None, None]
            assert logits.shape == (1, 3, 4, width) and np.ptp(logits) > 0.1
            np.testing.assert_allclose(output[name], logits, rtol=1e-3, atol=1e-5)
    features = [np.asarray(output['features']) for output in outputs]
    differ = [np.abs(one - other).max() > 1e-3 for one, other in ((features[0], features[1]), (features[1], features[2]))]
    assert differ == 2 * [variant not in ('F4', 'F5')]


@pytest.mark.parametrize('variant', ['F3', 'F4'])
def test_a_view_does_not_depend_on_the_other_views_of_the_call(variant):
    model = tiny.autoregressive(3, variant=variant, blocks=2, attention=True)
    variables = drawn(shapes_of(model), signed)
    image = jnp.asarray(np.random.default_rng(1).uniform(size=(1, 12, 12, 3)), jnp.float32)
    together = apply(model, variables, image, [ORDERINGS['D3'], None])
    for found, view in zip(together, [ORDERINGS['D3'], None], strict=True):
        (expected,) = apply(model, variables, image, [view])
        np.testing.assert_allclose(found['features'], expected['features'], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('output_stride', [2, 4])
@pytest.mark.parametrize('height, width, borders', [(8, 8, 'zeros'), (7, 10, 'zeros'), (7, 10, 'replicate')])
def test_the_stem_is_that_of_table_1(height, width, borders, output_stride):
    image = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    stem, mode = Stem(output_stride, 'float32', borders), {'zeros': 'constant', 'replicate': 'nearest'}[borders]
    shapes = jax.eval_shape(lambda: stem.init(jax.random.key(0), jnp.asarray(image), 0.9, train=False))
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(np.random.default_rng(leaf.size).uniform(0.1, 0.5, leaf.shape) - 0.1, leaf.dtype), shapes
    )
    conv, norm, stats = variables['params']['conv'], variables['params']['norm'], variables['batch_stats']['norm']
    found = jax.jit(lambda image: stem.apply(variables, image, 0.9, train=False))(image)
    stride = output_stride // 2
    for example, feature in np.ndindex(2, 4):
        x = sum(
            ndimage.correlate(image[example, :, :, c], np.asarray(conv['kernel'][:, :, c, feature]), mode=mode) for c in range(3)
        )
        x = x[::stride, ::stride] + conv['bias'][feature]
        x = (x - stats['mean'][feature]) / np.sqrt(stats['var'][feature] + 1e-5) * norm['scale'][feature] + norm['bias'][feature]
        pooled = ndimage.maximum_filter(np.maximum(x, 0), 3, mode='constant', cval=-np.inf)[::2, ::2]
        np.testing.assert_allclose(found[example, :, :, feature], pooled, rtol=1e-4, atol=1e-4)


def test_bfloat16_computes_in_half_and_keeps_everything_else_in_single_precision():
    options = {'blocks': 2, 'attention': True}
    half, single = (tiny.autoregressive(3, dtype=dtype, **options) for dtype in ('bfloat16', 'float32'))
    assert shapes_of(half) == shapes_of(single)
    variables = drawn(shapes_of(half), signed)
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 12, 12, 3)), jnp.float32)
    outputs, updated = jax.eval_shape(
        lambda: half.apply(variables, image, [ORDERINGS['D3']], train=True, mutable=['batch_stats'], method='scan')
    )
    assert outputs[0]['features'].dtype == jnp.bfloat16 and outputs[0]['decoder'].dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, updated))} == {jnp.dtype(jnp.float32)}
    _, computed = jax.eval_shape(lambda: half.apply(variables, image, capture_intermediates=True, mutable=['intermediates']))
    of_modules = {name: part for name, part in computed['intermediates'].items() if name != '__call__'}
    assert {'stem', 'block_1', 'attention', 'decoder'} <= set(of_modules)
    assert {leaf.dtype for leaf in jax.tree.leaves(of_modules)} == {jnp.dtype(jnp.bfloat16)}
    (found,), (expected,) = (apply(model, variables, image, [ORDERINGS['D3']]) for model in (half, single))
    scores, expected_scores = (tiny.scores(maps['decoder'], 12, 12) for maps in (found, expected))
    np.testing.assert_allclose(scores, expected_scores, atol=0.03)
    assert (scores != expected_scores).any()
    method = tiny.ac({'dtype': 'bfloat16', **options})
    predicted = jax.eval_shape(method.predict, variables['params'], {'batch_stats': updated['batch_stats']}, jnp.uint8(image))
    assert predicted['scores'].dtype == jnp.float32


def jacobians(model, weigh, size):
    """Dependence of every feature position, in the image, on `size` x `size` inputs of `weigh(ordering, inputs)`."""
    found = jax.jit(
        lambda: jax.lax.map(lambda ordering: jax.jacrev(lambda x: weigh(ordering, x))(jnp.ones((size, size))) != 0, STACK)
    )()
    return dict(zip(NAMES, np.asarray(found), strict=True))


def feature_sums(outputs):
    return outputs[0]['features'][0].sum(axis=-1)


def assert_pixels_in_order(seen, name, output_stride):
    """A position sees no pixel later than its anchor or than the anchor of a position before it, and sees all of these.

    Anchors are the first visited pixels of the cells. Along a diagonal of cells a zigzag of cells may run against that of
    the pixels; an anchor it then attends to is later in pixels, and earlier in the order of the model.
    """
    height, width = seen.shape[2:]
    ordering = ORDERINGS[name]
    seen = np.asarray(orderings.into_frame(seen, ordering, rows=0))
    ranks = orderings.rank(ordering, height, width)
    anchors = np.asarray(orderings.into_frame(ranks, ordering, rows=0))[::output_stride, ::output_stride]
    assert seen.shape[:2] == anchors.shape
    canonical = orderings.visiting_sequence(ORDERINGS['zigzag_A1' if ordering.zigzag else 'A1'], *anchors.shape)
    seen, anchors = seen.reshape(-1, height, width)[canonical], anchors.reshape(-1)[canonical]
    latest = np.maximum.accumulate(anchors)
    if name in RASTER:
        np.testing.assert_array_equal(latest, anchors)
    for position, of_position in enumerate(seen):
        assert not of_position[ranks > latest[position]].any(), (name, position)
        assert of_position[np.isin(ranks, anchors[: position + 1])].all(), (name, position)


@pytest.mark.parametrize('output_stride, size, zigzag', [(2, 12, 'corner'), (4, 18, 'alternate')])
def test_the_fully_autoregressive_model_sees_no_later_pixel(output_stride, size, zigzag):
    model = tiny.autoregressive(2, variant='F1', blocks=2, output_stride=output_stride, attention=True, zigzag=zigzag)
    variables = drawn(shapes_of(model, channels=1), positive)

    def features(ordering, image):
        return feature_sums(model.apply(variables, image[None, :, :, None], [ordering], method='scan'))

    for name, seen in jacobians(model, features, size).items():
        assert_pixels_in_order(seen, name, output_stride)


def test_the_fully_autoregressive_model_sees_no_later_pixel_of_an_odd_sized_image():
    model = tiny.autoregressive(2, variant='F1', blocks=2, output_stride=2, attention=True)
    variables = drawn(shapes_of(model, channels=1), positive)
    for name in ('C2', 'zigzag_B4'):

        def features(image, views=(ORDERINGS[name],)):
            return feature_sums(model.apply(variables, image[None, :, :, None], views, method='scan'))

        seen = jax.jit(jax.jacrev(features), compiler_options=tiny.QUICK)(jnp.ones((7, 10)))
        assert_pixels_in_order(np.asarray(seen) != 0, name, 2)


def dependence_on_encoder(model, entry, size=20):
    """Which positions of the output of module `entry`, the end of the unmasked encoder, each feature position depends on.

    The real network runs; all that is added is a zero to the output of `entry`, to differentiate with respect to it.
    """
    variables = drawn(shapes_of(model, channels=1), positive)
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(1, size, size, 1)), jnp.float32)

    def features(ordering, offset):
        def add(following, arguments, keywords, context):
            outputs = following(*arguments, **keywords)
            return outputs + offset[None, :, :, None] if context.module.name == entry else outputs

        with nn.intercept_methods(add):
            return feature_sums(model.apply(variables, image, [ordering], method='scan'))

    return jacobians(model, lambda ordering, x: features(ordering, x - 1), size // model.output_stride)


@pytest.mark.parametrize(
    'variant, entry, zigzag', [('F2', 'stem', 'corner'), ('F2', 'stem', 'alternate'), ('F3', 'block_0', 'corner')]
)
def test_with_attention_the_masked_encoder_sees_the_past_of_its_input_and_all_of_it(variant, entry, zigzag):
    model = tiny.autoregressive(2, variant=variant, blocks=2, attention=True, zigzag=zigzag)
    for name, seen in dependence_on_encoder(model, entry).items():
        ranks = orderings.rank(ORDERINGS[name], 5, 5)
        np.testing.assert_array_equal(seen, ranks[None, None] <= ranks[:, :, None, None], err_msg=name)


def test_raster_masks_below_zigzag_attention_break_the_zigzag_but_no_raster_order():
    model = tiny.autoregressive(2, blocks=2, attention=True, zigzag='raster')
    for name, seen in dependence_on_encoder(model, 'stem').items():
        ranks = orderings.rank(ORDERINGS[name], 5, 5)
        assert seen[ranks[None, None] > ranks[:, :, None, None]].any() == (name not in RASTER), name


def test_nothing_is_masked_without_an_ordering():
    model = tiny.autoregressive(2, variant='F1', blocks=2, output_stride=2, attention=True)
    variables = drawn(shapes_of(model, channels=1), positive)
    seen = jax.jit(jax.jacrev(lambda image: feature_sums([model.apply(variables, image[None, :, :, None])])))(jnp.ones((7, 10)))
    assert seen.shape == (4, 5, 7, 10) and (seen != 0).all()


def test_dropout_acts_in_training_only():
    model, without = (tiny.autoregressive(3, dropout=dropout) for dropout in (0.3, 0.0))
    variables = drawn(shapes_of(model), signed)
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 8, 8, 3)), jnp.float32)

    def train(model, seed):
        run = {'train': True, 'mutable': ['batch_stats'], 'rngs': {'dropout': jax.random.key(seed)}}
        return model.apply(variables, image, **run)[0]['decoder']

    maps = jax.jit(lambda seed: {'dropped': train(model, seed), 'kept': train(without, seed)}, compiler_options=tiny.QUICK)
    one, other = maps(0), maps(1)
    assert (one['dropped'] != one['kept']).any() and (one['dropped'] != other['dropped']).any()
    np.testing.assert_array_equal(one['kept'], other['kept'])
    (evaluated,), (expected,) = (apply(which, variables, image, [None]) for which in (model, without))
    np.testing.assert_array_equal(evaluated['decoder'], expected['decoder'])


def test_accelerators_and_cpus_compute_the_same_network_in_their_own_ways(monkeypatch):
    image = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
    model = tiny.autoregressive(3, auxiliary=4, blocks=2, attention=True)
    variables = drawn(shapes_of(model), signed)

    def outputs_and_gradients():
        def loss(params, index):
            views = (orderings.choose(STACK, index), RASTER['A2'])
            run = {'train': True, 'mutable': ['batch_stats'], 'method': 'scan'}
            outputs, _ = model.apply({**variables, 'params': params}, image, views, **run)
            return sum(jnp.sum(view['decoder'] ** 2) + jnp.sum(view['auxiliary_decoder'] ** 2) for view in outputs), outputs

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables['params'], jnp.int32(5))

    expected = outputs_and_gradients()
    monkeypatch.setattr(layers, 'platform', lambda: 'tpu')
    found = outputs_and_gradients()
    # Some gradients are 0 but for rounding: softmax does not see the bias of keys.
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[1]))
    for leaf, reference in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, reference, rtol=1e-4, atol=1e-6 * scale)


def test_rematerialised_blocks_keep_less_for_the_same_gradients():
    image = jax.random.uniform(jax.random.key(0), (2, 32, 32, 3))

    def differentiated(remat):
        """Gradients, and bytes that the forward pass keeps for the backward pass."""
        model = tiny.autoregressive(3, blocks=2, dropout=0.5, attention=True, remat=remat)
        variables = drawn(shapes_of(model), signed)

        def loss(params, index):
            views = (orderings.choose(orderings.stack(('A1', 'D3')), index), RASTER['A2'])
            run = {'train': True, 'mutable': ['batch_stats'], 'rngs': {'dropout': jax.random.key(2)}, 'method': 'scan'}
            outputs, _ = model.apply({**variables, 'params': params}, image, views, **run)
            return sum(jnp.sum(view['decoder'] ** 2) for view in outputs)

        kept = jax.eval_shape(lambda params: jax.vjp(lambda params: loss(params, jnp.int32(1)), params)[1], variables['params'])
        gradients = jax.jit(jax.grad(loss), compiler_options=tiny.QUICK)(variables['params'], jnp.int32(1))
        return gradients, sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))

    (expected, more), (found, less) = differentiated(False), differentiated(True)
    assert less < 0.5 * more
    for gradient, reference in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(gradient, reference, rtol=1e-4, atol=1e-5 * np.abs(reference).max())


@pytest.mark.parametrize(
    ('variant', 'output_stride', 'blocks'), [('F1', 2, 1), ('F2', 4, 2), ('F3', 2, 2), ('F4', 4, 1), ('F5', 2, 1)]
)
def test_no_score_depends_on_a_pixel_beyond_the_reach(variant, output_stride, blocks):
    """From the gradients of all pixels of a cell, along a row. The reach is a bound; it is met to a cell."""
    model = tiny.autoregressive(2, variant=variant, output_stride=output_stride, blocks=blocks)
    variables = drawn(shapes_of(model), positive)
    first = model.reach + output_stride - model.reach % output_stride
    width = 2 * first + output_stride
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 2, width, 3)), jnp.float32)

    def cell(image):
        logits = tiny.interpolated(model.apply(variables, image)['decoder'], 2, width, output_stride)
        return logits[:, :, first : first + output_stride].sum(axis=(0, 1, 3))

    seen = np.asarray(jax.jit(jax.jacrev(cell))(image) != 0).any(axis=(1, 2, 4))
    distances = [abs(np.flatnonzero(of_pixel) - first - pixel).max() for pixel, of_pixel in enumerate(seen)]
    assert model.reach - output_stride <= max(distances) <= model.reach


def _offsets(model, views):
    """How far the centre of gravity of what a pixel is made of lies to its right, by view; no view is the network of inference.

    The pixel is at the centre of a cell. By the gradients of a network with constant weights, in which nothing has a preferred
    direction but the geometry; images of noise, which decides what the pooling takes, come with their mirror images.
    """
    variables = drawn(shapes_of(model), lambda rng, shape: np.ones(shape))
    middle = model.reach + 2 * model.output_stride - model.reach % model.output_stride
    # Flipped scans of F1 have cells of their own, which begin at the other end of what divides by the stride, as crops do.
    side = 2 * middle + (model.variant != 'F1')
    noise = np.random.default_rng(0).uniform(size=(2, side if views else 1, side, 3))
    image = jnp.asarray(np.concatenate([noise, noise[:, :, ::-1]]), jnp.float32)

    def pixel(image, view):
        (outputs,) = model.apply(variables, image, [view], method='scan')
        return model.to_pixels(outputs['decoder'], *image.shape[1:3], scanned=view is not None)[:, :, middle].sum()

    def weights(view):
        return jnp.abs(jax.grad(pixel)(image, view)).sum(axis=(0, 1, 3))

    found = np.asarray(jax.jit(lambda: jax.lax.map(weights, views) if views else weights(None)[None])())
    return found @ np.arange(side) / found.sum(axis=1) - middle


@pytest.mark.parametrize(('variant', 'output_stride'), [*itertools.product(['F1', 'F2', 'F4'], [2, 4]), ('F5', 2)])
def test_scores_are_those_of_the_pixel_that_they_are_drawn_at(variant, output_stride):
    centred, paper = (
        tiny.autoregressive(2, variant=variant, output_stride=output_stride, geometry=geometry)
        for geometry in ('centred', 'paper')
    )
    assert abs(_offsets(centred, None)) < 0.05
    if variant != 'F5':  # for which it would take long, and say nothing new
        np.testing.assert_allclose(_offsets(paper, None), -(output_stride - 1) / 2, atol=0.3)


@pytest.mark.parametrize('variant', ['F1', 'F2'])
@pytest.mark.parametrize('output_stride', [2, 4])
def test_scores_of_all_orderings_together_are_those_of_their_pixel(variant, output_stride):
    model = tiny.autoregressive(2, variant=variant, output_stride=output_stride)
    offsets = _offsets(model, orderings.stack(tuple(RASTER)))
    assert abs(np.mean(offsets)) < 0.05 and np.abs(offsets).max() > 0.3


def test_attention_reaches_everywhere():
    assert tiny.autoregressive(blocks=2, attention=True).reach is None


@pytest.mark.parametrize(
    ('field', 'value', 'expected'),
    [
        ('blocks', 0, '1, 2, 3, 4, 5; found 0'),
        ('blocks', 6, '1, 2, 3, 4, 5; found 6'),
        ('output_stride', 3, '2, 4; found 3'),
    ],
)
def test_options_that_are_not_known_are_refused_with_those_that_are(field, value, expected):
    with pytest.raises(UserError, match=rf'^model\.{field} is one of {expected}$'):
        tiny.autoregressive(**{field: value})


def test_the_borders_of_a_resnet_are_zeros():
    with pytest.raises(UserError, match=r"^model\.borders of the ResNet of variant F5 is 'zeros', found 'partial'; choose F1"):
        tiny.autoregressive(variant='F5', borders='partial')


@pytest.mark.parametrize(
    ('variant', 'borders', 'seen'),
    [
        ('F1', 'replicate', ['zeros'] * 4),
        ('F2', 'replicate', ['replicate', 'zeros', 'zeros']),
        ('F3', 'replicate', ['replicate', 'replicate', 'zeros']),
        ('F4', 'replicate', ['replicate'] * 3),
        ('F1', 'partial', ['partial'] * 4),
        ('F3', 'partial', ['partial'] * 3),
    ],
)
def test_borders_are_replicated_only_where_nothing_is_ever_masked(variant, borders, seen, monkeypatch):
    """In the unmasked network as under an ordering."""
    found, plain = [], layers.MaskedConv._correlate

    def correlate(conv, x, kernel, ordering):
        if kernel.shape[-1] > 1:  # not that which counts taps
            found.append(conv.borders)
        return plain(conv, x, kernel, ordering)

    monkeypatch.setattr(layers.MaskedConv, '_correlate', correlate)
    model = tiny.autoregressive(variant=variant, blocks=2, borders=borders)
    image = jnp.zeros((1, 16, 16, 3))
    for views in ([None], [ORDERINGS['D3']], [ORDERINGS['zigzag_A1']]):
        found.clear()
        jax.eval_shape(lambda views=views: model.init(jax.random.key(0), image, views, method='scan'))
        assert found == seen


@pytest.mark.parametrize('rate', [-0.1, 1.0])
def test_a_dropout_that_is_no_rate_is_refused(rate):
    with pytest.raises(UserError, match=rf'^model\.dropout is a rate in \[0, 1\), found {rate}$'):
        tiny.autoregressive(dropout=rate)


def test_attention_needs_its_second_block():
    for options in ({'blocks': 1}, {'blocks': 5, 'variant': 'F5'}):
        with pytest.raises(UserError, match=r'^model\.attention comes after the second residual block, which this model has not'):
            tiny.autoregressive(attention=True, **options)
    for heads in (0, -1, 3, 256):
        with pytest.raises(UserError, match=rf'^model\.attention_heads divides 128, found {heads}$'):
            tiny.autoregressive(blocks=2, attention=True, attention_heads=heads)


def test_a_traced_ordering_refuses_an_image_that_is_not_square():
    model = tiny.autoregressive()
    traced = jax.tree.map(lambda flags: jnp.asarray(flags)[0], STACK)
    with pytest.raises(UserError, match='square maps, found 4 x 6'):
        jax.eval_shape(
            lambda variables: model.apply(variables, jnp.zeros((1, 16, 24, 3)), [traced], method='scan'), shapes_of(model)
        )
