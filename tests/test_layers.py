"""What each layer sees, pixel by pixel: exact Jacobians of the real layers against ranks and explicit sums."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ar_seg_jax import attention, layers, orderings
from ar_seg_jax.errors import UserError
from ar_seg_jax.orderings import ORDERINGS, RASTER, ZIGZAG, Ordering
from tests.support import tiny
from tests.support.arrays import normal

NAMES = tuple(ORDERINGS)
STACK = orderings.stack(NAMES)


def positive(seed, shape):
    """Weights that can not cancel: a Jacobian entry of a stack of such convolutions is zero only where nothing is read."""
    return jnp.asarray(np.random.default_rng(seed).uniform(0.5, 1.5, shape), jnp.float32)


def random_variables(module, *arguments, scale=1.0):
    """Variables of the shapes of `module`, all of them drawn: biases that are zero would hide an error."""
    shapes, treedef = jax.tree.flatten(jax.eval_shape(module.init, jax.random.key(0), *arguments))
    return jax.tree.unflatten(treedef, [scale * normal(seed, leaf.shape) for seed, leaf in enumerate(shapes)])


def at(index):
    """The traced ordering at `index` of NAMES."""
    return jax.tree.map(lambda flags: jnp.asarray(flags)[index], STACK)


def masked_conv(kernel, x, ordering, **fields):
    """A real MaskedConv from one channel to one, on a height x width map in the frame of `ordering`."""
    layer = layers.MaskedConv(1, kernel.shape[0], **fields)
    return layer.apply({'params': {'kernel': kernel, 'bias': jnp.zeros(1)}}, x[None, :, :, None], ordering)[0, :, :, 0]


def conv_jacobian(kernel, height, width, ordering, **fields):
    """d output (in the frame) / d input (in the image): out_height x out_width x height x width."""
    return jax.jacfwd(lambda x: masked_conv(kernel, orderings.into_frame(x, ordering, rows=0), ordering, **fields))(
        jnp.ones((height, width))
    )


def explicit_jacobian(kernel, height, width, taps, padding, dilation):
    """The matrix of a convolution of stride 1 in the image, one tap after the other."""
    jacobian = np.zeros((height, width, height, width), np.float32)
    i, j = np.indices((height, width))
    for row, column in np.argwhere(taps):
        down, right = i + row * dilation - padding[0][0], j + column * dilation - padding[1][0]
        inside = (down >= 0) & (down < height) & (right >= 0) & (right < width)
        jacobian[i[inside], j[inside], down[inside], right[inside]] = kernel[row, column]
    return jacobian


def anchors(ordering, height, width, stride):
    """Rank of the pixel at which each output of a strided layer is anchored, in the frame."""
    return np.asarray(orderings.into_frame(orderings.rank(ordering, height, width), ordering, rows=0))[::stride, ::stride]


def assert_autoregressive(jacobian, ordering, stride=1):
    """No output depends on a later pixel than its anchor, and every one depends on its anchor."""
    height, width = jacobian.shape[2:]
    ranks, anchor = orderings.rank(ordering, height, width), anchors(ordering, height, width, stride)
    assert jacobian.shape[:2] == anchor.shape
    seen = np.asarray(jacobian) != 0
    assert not seen[ranks[None, None] > anchor[:, :, None, None]].any(), 'a later pixel is seen'
    assert seen[ranks[None, None] == anchor[:, :, None, None]].all(), 'the current pixel is not seen'


def assert_conv_as_specified(jacobian, kernel, name, size, stride, dilation, shift):
    ordering = ORDERINGS[name]
    height, width = jacobian.shape[2:]
    assert_autoregressive(jacobian, ordering, stride)
    taps, padding = orderings.support(ordering, size, dilation, shift)
    expected = explicit_jacobian(kernel[:, :, 0, 0], height, width, taps, padding, dilation)
    expected = np.asarray(orderings.into_frame(expected, ordering, rows=0))[::stride, ::stride]
    np.testing.assert_array_equal(jacobian, expected, err_msg=f'{name} {shift}')


GEOMETRIES = [(size, stride, dilation) for size in (3, 5, 7) for stride in (1, 2) for dilation in (1, 2)]


@pytest.mark.parametrize('size, stride, dilation', GEOMETRIES)
def test_masked_convolutions_see_the_past_tap_for_tap_on_square_maps(size, stride, dilation):
    kernel = positive(0, (size, size, 1, 1))
    shifts = ('corner', 'top') if size == 7 else ('corner', 'top', 'left')

    def jacobians(shift):
        return jax.lax.map(
            lambda ordering: conv_jacobian(kernel, 8, 8, ordering, stride=stride, dilation=dilation, zigzag_shift=shift), STACK
        )

    found = jax.jit(lambda: {shift: jacobians(shift) for shift in shifts}, compiler_options=tiny.QUICK)()
    for shift, of_shift in found.items():
        for name, jacobian in zip(NAMES, of_shift, strict=True):
            assert_conv_as_specified(jacobian, kernel, name, size, stride, dilation, shift)


@pytest.mark.parametrize('size, stride, dilation', GEOMETRIES)
def test_masked_convolutions_see_the_past_tap_for_tap_on_other_maps(size, stride, dilation):
    """Transpose, which has to be static here, and kind of scan are static; the flips are traced, to compile less."""
    kernel, height, width = positive(1, (size, size, 1, 1)), 7, 10
    shifts = ('raster', 'corner', 'top', 'left') if size == 3 else ('raster', 'corner')

    def jacobians(transpose, shift):
        return jax.lax.map(
            lambda flips: conv_jacobian(
                kernel,
                height,
                width,
                Ordering(flips[0], flips[1], transpose, shift != 'raster'),
                stride=stride,
                dilation=dilation,
                zigzag_shift=shift,
            ),
            jnp.array([(False, False), (False, True), (True, False), (True, True)]),
        )

    kinds = [(transpose, shift) for transpose in (False, True) for shift in shifts]
    found = jax.jit(lambda: [jacobians(*kind) for kind in kinds], compiler_options=tiny.QUICK)()
    for (transpose, shift), of_kind in zip(kinds, found, strict=True):
        for name, ordering in (RASTER if shift == 'raster' else ZIGZAG).items():
            if ordering.transpose == transpose:
                jacobian = of_kind[2 * ordering.flip_rows + ordering.flip_columns]
                assert_conv_as_specified(jacobian, kernel, name, size, stride, dilation, shift)


@pytest.mark.parametrize('height, width', [(8, 8), (7, 10)])
def test_static_three_by_three_convolutions_see_what_the_supplements_masks_and_paddings_let_them(height, width, supplement):
    kernel = positive(2, (3, 3, 1, 1))
    found = jax.jit(
        lambda: {name: conv_jacobian(kernel, height, width, ORDERINGS[name]) for name in NAMES}, compiler_options=tiny.QUICK
    )()
    for name, jacobian in found.items():
        if name in RASTER:
            expected = explicit_jacobian(kernel[:, :, 0, 0], height, width, *supplement(name), dilation=1)
            np.testing.assert_array_equal(orderings.out_of_frame(jacobian, ORDERINGS[name], rows=0), expected, err_msg=name)
        assert_autoregressive(jacobian, ORDERINGS[name])


SHIFTS = {'corner': ('corner', 'corner'), 'alternate': ('top', 'left'), 'top': ('top', 'top'), 'left': ('left', 'left')}


def stacked(kernels, x, ordering, shifts):
    """Outputs after each of several masked convolutions; shifts take turns."""
    outputs = [orderings.into_frame(x, ordering, rows=0)]
    for index, kernel in enumerate(kernels):
        outputs.append(masked_conv(kernel, outputs[-1], ordering, zigzag_shift=shifts[index % 2]))
    return outputs[1:]


@pytest.mark.parametrize(('size', 'depth'), [(3, 8), (5, 5), (5, 8)])
@pytest.mark.parametrize('zigzag', SHIFTS)
def test_layers_deep_no_output_sees_a_later_pixel(zigzag, size, depth):
    kernels = positive(3, (depth, size, size, 1, 1))
    found = jax.jit(
        lambda: jax.lax.map(
            lambda ordering: jax.jacfwd(lambda x: stacked(kernels, x, ordering, SHIFTS[zigzag])[-1])(jnp.ones((9, 9))), STACK
        )
    )()
    for name, jacobian in zip(NAMES, found, strict=True):
        assert_autoregressive(jacobian, ORDERINGS[name])


@pytest.mark.parametrize('zigzag', SHIFTS)
def test_layers_deep_no_output_of_a_map_that_is_not_square_sees_a_later_pixel(zigzag):
    kernels = positive(3, (5, 5, 5, 1, 1))

    @functools.partial(jax.jit, static_argnums=0, compiler_options=tiny.QUICK)
    def jacobian(name):
        return jax.jacfwd(lambda x: stacked(kernels, x, ORDERINGS[name], SHIFTS[zigzag])[-1])(jnp.ones((6, 9)))

    for name in ('B4', 'zigzag_A1', 'zigzag_C2', 'zigzag_D4'):
        assert_autoregressive(jacobian(name), ORDERINGS[name])


@pytest.mark.parametrize('zigzag, counts', [('corner', (81, 81)), ('alternate', (97, 113))])
def test_receptive_fields_have_the_sizes_of_the_paper(zigzag, counts):
    """Pixels seen from the centre of 17 x 17 after 5 and after 8 layers, of 145 that a scan has visited by then."""
    kernels = positive(4, (8, 3, 3, 1, 1))

    def from_the_centre(ordering):
        def centre(x):
            outputs = stacked(kernels, x, ordering, SHIFTS[zigzag])
            return jnp.stack([outputs[4][8, 8], outputs[7][8, 8]])

        return jnp.sum(jax.jacrev(centre)(jnp.ones((17, 17))) != 0, axis=(1, 2))

    found = jax.jit(lambda: jax.lax.map(from_the_centre, STACK))()
    for name, seen in zip(NAMES, found, strict=True):
        assert tuple(seen.tolist()) == ((84, 117) if name in RASTER else counts), name


@pytest.mark.parametrize('size, stride, dilation, shift', [(3, 1, 1, 'corner'), (3, 2, 1, 'left'), (5, 2, 2, 'top')])
def test_masked_taps_get_exactly_no_gradient_and_the_others_some(size, stride, dilation, shift):
    x, kernel = positive(5, (12, 12)), positive(6, (size, size, 1, 1))

    def loss(kernel, ordering):
        x_turned = orderings.into_frame(x, ordering, rows=0)
        return jnp.sum(masked_conv(kernel, x_turned, ordering, stride=stride, dilation=dilation, zigzag_shift=shift))

    gradients = jax.jit(lambda: jax.lax.map(lambda ordering: jax.grad(loss)(kernel, ordering), STACK))()
    for name, gradient in zip(NAMES, gradients, strict=True):
        taps, _ = orderings.support(ORDERINGS[name], size, dilation, shift)
        np.testing.assert_array_equal(gradient[:, :, 0, 0] != 0, taps, err_msg=name)


@pytest.mark.parametrize('names', [('A1', 'D3'), ('A2', 'B1'), ('C3', 'C2'), ('D4', 'zigzag_A1')])
def test_a_tap_gets_the_gradients_of_the_views_that_used_it(names):
    """The sum over the views of the gradients that a double loop finds; where one view masks a tap, that of the other."""
    x, kernel, weights = positive(7, (6, 6)), positive(8, (3, 3, 1, 1)), positive(9, (2, 6, 6))

    def loss(kernel):
        outputs = [
            orderings.out_of_frame(
                masked_conv(kernel, orderings.into_frame(x, ORDERINGS[name], rows=0), ORDERINGS[name], zigzag_shift='top'),
                ORDERINGS[name],
                rows=0,
            )
            for name in names
        ]
        return jnp.sum(weights * jnp.stack(outputs))

    expected = np.zeros((3, 3))
    for name, weight in zip(names, np.asarray(weights, np.float64), strict=True):
        taps, ((top, bottom), (left, right)) = orderings.support(ORDERINGS[name], 3, 1, 'top')
        padded = np.pad(np.asarray(x, np.float64), ((top, bottom), (left, right)))
        for row, column in np.argwhere(taps):
            expected[row, column] += np.sum(weight * padded[row : row + 6, column : column + 6])
    np.testing.assert_allclose(jax.grad(loss)(kernel)[:, :, 0, 0], expected, rtol=1e-5)


class Network(nn.Module):
    """A masked convolution and attention after it, turned into the frame and back as the model does."""

    @nn.compact
    def __call__(self, x, ordering):
        x = orderings.into_frame(x, ordering)
        x = nn.relu(layers.MaskedConv(4, zigzag_shift='top')(x, ordering))
        return orderings.out_of_frame(attention.MaskedAttention(heads=2)(x, ordering), ordering)


def test_traced_orderings_give_the_outputs_and_gradients_of_static_ones():
    x, weights = normal(0, (1, 5, 5, 2)), normal(1, (1, 5, 5, 4))
    network = Network()
    variables = random_variables(network, x, ORDERINGS['A1'], scale=0.3)

    def outputs_and_gradients(ordering):
        outputs, pullback = jax.vjp(lambda variables, x: network.apply(variables, x, ordering), variables, x)
        return outputs, pullback(weights)

    traced = jax.jit(lambda index: outputs_and_gradients(at(index)))
    static = jax.jit(lambda: [outputs_and_gradients(ORDERINGS[name]) for name in NAMES], compiler_options=tiny.QUICK)()
    for index, name in enumerate(NAMES):
        for found, expected in zip(*map(jax.tree.leaves, (traced(index), static[index])), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=name)
    assert traced._cache_size() == 1
    outputs = np.stack([output for output, _ in static])
    distinct = np.abs(outputs[:, None] - outputs[None]).max(axis=(2, 3, 4, 5)) > 1e-3
    assert distinct[~np.eye(16, dtype=bool)].all(), 'two orderings give the same outputs, so this test can not tell them apart'


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize(
    'shift, size, dilation',
    [('raster', 3, 1), ('corner', 3, 2), ('top', 5, 1), ('left', 5, 2), ('centred', 7, 1), ('raster', 1, 1)],
)
def test_patches_and_convolutions_are_one_function(shift, size, dilation, stride):
    taps, padding = orderings.canonical_support(shift, size, dilation)
    x, kernel = normal(0, (2, 9, 7, 3)), normal(1, (size, size, 3, 4))
    weights = normal(2, (2, -(-9 // stride), -(-7 // stride), 4))

    def outputs_and_gradients(lowering):
        outputs, pullback = jax.vjp(
            lambda x, kernel: layers.convolve(x, kernel, padding, stride, dilation, taps, lowering), x, kernel
        )
        return outputs, *pullback(weights)

    patches, convolution = jax.jit(lambda: [outputs_and_gradients(lowering) for lowering in ('patches', 'convolution')])()
    for found, expected in zip(patches, convolution, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    for _, _, kernel_gradient in (patches, convolution):
        assert not np.asarray(kernel_gradient)[~taps].any()


@pytest.mark.parametrize('size, stride, dilation', [(1, 1, 1), (3, 1, 1), (3, 2, 1), (5, 1, 2), (3, 2, 2)])
def test_without_an_ordering_the_convolution_is_the_ordinary_one(size, stride, dilation):
    x = normal(0, (2, 9, 8, 3))
    layer = layers.MaskedConv(4, size, stride, dilation)
    params = random_variables(layer, x)['params']
    half = size // 2 * dilation
    expected = jax.lax.conv_general_dilated(
        x,
        params['kernel'],
        (stride, stride),
        ((half, half), (half, half)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    found = jax.jit(layer.apply)({'params': params}, x)
    np.testing.assert_allclose(found, expected + params['bias'][None, None, None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('size, stride, dilation', [(3, 1, 1), (3, 2, 1), (5, 1, 2)])
def test_replicated_borders_are_those_of_the_map_again(size, stride, dilation):
    x, kernel = np.asarray(normal(0, (9, 8))), np.asarray(normal(1, (size, size)))
    weights = jnp.asarray(kernel)[:, :, None, None]
    found = masked_conv(weights, jnp.asarray(x), None, stride=stride, dilation=dilation, borders='replicate')
    spread = np.zeros(((size - 1) * dilation + 1,) * 2, np.float32)
    spread[::dilation, ::dilation] = kernel
    expected = ndimage.correlate(x, spread, mode='nearest')[::stride, ::stride]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_borders_are_not_replicated_under_an_ordering():
    with pytest.raises(UserError, match=r'^borders that are replicated may show what comes later in an ordering; take partial'):
        layers.MaskedConv(1, borders='replicate').init(jax.random.key(0), jnp.zeros((1, 5, 5, 1)), ORDERINGS['A1'])


@pytest.mark.parametrize('shift', ['corner', 'top'])
def test_partial_convolutions_weigh_what_is_inside_for_all_their_taps_and_see_no_later_pixel(shift):
    kernel = positive(0, (3, 3, 1, 1))
    of_all = jax.jit(
        lambda: jax.lax.map(lambda one: conv_jacobian(kernel, 5, 5, one, zigzag_shift=shift, borders='partial'), STACK),
        compiler_options=tiny.QUICK,
    )()
    for name, jacobian in zip(NAMES, of_all, strict=True):
        ordering = ORDERINGS[name]
        assert_autoregressive(jacobian, ordering)
        taps, padding = orderings.support(ordering, 3, 1, shift)
        expected = explicit_jacobian(kernel[:, :, 0, 0], 5, 5, taps, padding, 1)
        expected *= taps.sum() / (expected != 0).sum((2, 3), keepdims=True)
        np.testing.assert_allclose(jacobian, orderings.into_frame(expected, ordering, rows=0), rtol=1e-6, err_msg=name)
        static = conv_jacobian(kernel, 5, 5, ordering, zigzag_shift=shift, borders='partial')
        np.testing.assert_allclose(static, jacobian, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize('stride', [1, 2])
def test_a_partial_convolution_of_an_even_map_has_no_border(stride):
    kernel = jnp.ones((3, 3, 1, 1))
    found = masked_conv(kernel, jnp.full((6, 7), 2.0), None, stride=stride, borders='partial')
    np.testing.assert_allclose(found, np.full(found.shape, 18.0), rtol=1e-6)
    zeros = masked_conv(kernel, jnp.full((6, 7), 2.0), None, stride=stride)
    assert zeros[0, 0] == 8


def test_an_even_kernel_is_refused():
    with pytest.raises(UserError, match='odd size'):
        layers.MaskedConv(1, 4).init(jax.random.key(0), jnp.zeros((1, 5, 5, 1)), ORDERINGS['A1'])


def explicit_attention(params, x, heads, ranks=None):
    """Attention in float64 with its N x N mask, on tokens in image order; `ranks` None attends to everything."""
    params = jax.tree.map(lambda array: np.asarray(array, np.float64), params)
    batch, height, width, channels = x.shape
    tokens = np.asarray(x, np.float64).reshape(batch, height * width, channels)

    def dense(name, x):
        return x @ params[name]['kernel'] + params[name]['bias']

    attended = []
    for parts in zip(*(np.split(dense(name, tokens), heads, axis=-1) for name in ('query', 'key', 'value')), strict=True):
        query, key, value = parts
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
        if ranks is not None:
            scores[:, ranks.reshape(-1)[None, :] > ranks.reshape(-1)[:, None]] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attended.append(weights / weights.sum(axis=-1, keepdims=True) @ value)
    attended = dense('output', np.concatenate(attended, axis=-1))
    if 'merge' not in params:
        return (tokens + attended).reshape(x.shape)
    return dense('merge', np.concatenate([tokens, attended], axis=-1)).reshape(x.shape)


def attention_and_variables(heads, channels, scale=1.0, merge='concatenate'):
    layer = attention.MaskedAttention(heads, merge)
    return layer, random_variables(layer, jnp.zeros((1, 2, 2, channels)), scale=scale)


def attend_in_image(layer, variables, x, ordering):
    if ordering is None:
        return layer.apply(variables, x)
    return orderings.out_of_frame(layer.apply(variables, orderings.into_frame(x, ordering), ordering), ordering)


@pytest.mark.parametrize(('heads', 'merge'), [(1, 'concatenate'), (2, 'add')])
def test_attention_is_a_softmax_over_the_explicit_mask_of_ranks(heads, merge):
    layer, variables = attention_and_variables(heads, 4, merge=merge)
    square, other = normal(2, (2, 5, 5, 4)), normal(3, (2, 4, 6, 4))
    traced = jax.jit(lambda index: attend_in_image(layer, variables, square, at(index)))
    static = jax.jit(
        lambda: {n: attend_in_image(layer, variables, other, ORDERINGS[n]) for n in NAMES}, compiler_options=tiny.QUICK
    )()
    for index, name in enumerate(NAMES):
        for x, found in ((square, traced(index)), (other, static[name])):
            ranks = orderings.rank(ORDERINGS[name], *x.shape[1:3])
            expected = explicit_attention(variables['params'], x, heads, ranks)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize('name, heads', [(None, 2), ('C2', 1), ('A1', 2), ('zigzag_D4', 2)])
def test_attention_in_several_chunks_is_the_same(name, heads):
    height, width = 17, 20
    assert height * width > attention.CHUNK and height * width % attention.CHUNK
    ordering = None if name is None else ORDERINGS[name]
    layer, variables = attention_and_variables(heads, 4)
    x = normal(3, (1, height, width, 4))
    ranks = None if name is None else orderings.rank(ordering, height, width)
    found = jax.jit(lambda x: attend_in_image(layer, variables, x, ordering))(x)
    np.testing.assert_allclose(found, explicit_attention(variables['params'], x, heads, ranks), rtol=1e-4, atol=1e-4)


def test_attention_never_sees_a_later_pixel_and_sees_every_earlier_one():
    layer, variables = attention_and_variables(2, 4, scale=0.5)
    x = normal(4, (1, 5, 5, 4))

    def seen(ordering):
        jacobian = jax.jacrev(lambda x: attend_in_image(layer, variables, x, ordering)[0])(x)[:, :, :, 0]
        return jnp.any(jacobian != 0, axis=(2, 5))

    found = jax.jit(lambda: jax.lax.map(seen, STACK))()
    for name, pattern in zip(NAMES, found, strict=True):
        ranks = orderings.rank(ORDERINGS[name], 5, 5)
        np.testing.assert_array_equal(pattern, ranks[None, None] <= ranks[:, :, None, None], err_msg=name)


def dense_attention(query, key, value, causal):
    scores = jnp.einsum('bqhd,bkhd->bhqk', query, key) / jnp.sqrt(query.shape[-1])
    later = jnp.triu(jnp.ones(scores.shape[2:], bool), 1) & causal
    weights = jax.nn.softmax(jnp.where(later[None, None], -jnp.inf, scores), axis=-1)
    return jnp.einsum('bhqk,bkhd->bqhd', weights, value)


@pytest.mark.parametrize('chunk, causal', [(1, True), (7, True), (7, False), (30, True), (100, True)])
def test_chunked_attention_has_the_outputs_and_gradients_of_dense_attention(chunk, causal):
    query, key, value, weights = normal(0, (4, 2, 31, 2, 3))

    def outputs_and_gradients(attention):
        outputs, pullback = jax.vjp(attention, query, key, value)
        return outputs, *pullback(weights)

    found, expected = jax.jit(
        lambda: (
            outputs_and_gradients(lambda *inputs: attention.attend_in_chunks(*inputs, causal, chunk)),
            outputs_and_gradients(lambda *inputs: dense_attention(*inputs, causal)),
        ),
        compiler_options=tiny.QUICK,
    )()
    for array, reference in zip(found, expected, strict=True):
        assert np.isfinite(array).all()
        np.testing.assert_allclose(array, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('causal', [True, False])
def test_gpus_get_the_fused_kernel_which_is_asked_for_the_same_attention(causal, monkeypatch):
    query, key, value = normal(0, (3, 2, 31, 2, 8)).astype(jnp.bfloat16)
    asked, function = [], jax.nn.dot_product_attention

    def without_gpu(*inputs, implementation, **options):
        asked.append(implementation)
        return function(*inputs, implementation='xla', **options)

    expected = attention.attend(query, key, value, causal)
    monkeypatch.setattr(layers, 'platform', lambda: 'gpu')
    monkeypatch.setattr(jax.nn, 'dot_product_attention', without_gpu)
    found = attention.attend(query, key, value, causal)
    assert asked == ['cudnn']
    np.testing.assert_allclose(found.astype(jnp.float32), expected.astype(jnp.float32), atol=0.03)  # bfloat16 has 8 bits
    attention.attend(*(array.astype(jnp.float32) for array in (query, key, value)), causal)
    assert asked == ['cudnn']  # which it cannot do in 32 bits


def square_shapes(compiled, tokens):
    """Array shapes in a compiled program of which two dimensions are as long as the tokens."""
    shapes = re.findall(r'\w\[([\d,]+)\]', compiled.as_text())
    return {shape for shape in shapes if sum(int(size) >= tokens for size in shape.split(',')) >= 2}


def test_the_memory_of_attention_is_linear_in_the_tokens():
    side, tokens = 100, 10_000  # an image of Potsdam at an output stride of 2
    layer, variables = attention_and_variables(1, 4)

    def loss(variables, x, index):
        return jnp.sum(attend_in_image(layer, variables, x, at(index)) ** 2)

    arguments = (variables, jax.ShapeDtypeStruct((1, side, side, 4), jnp.float32), 0)
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*arguments).compile()
    assert not square_shapes(compiled, tokens)
    # A few times the scores of one chunk, where the scores of all tokens are 400 MB.
    assert compiled.memory_analysis().temp_size_in_bytes < 8 * attention.CHUNK * tokens * 4 < tokens**2 * 4 / 4


def test_that_dense_attention_would_be_caught():
    shape = jax.ShapeDtypeStruct((1, 500, 1, 2), jnp.float32)
    compiled = jax.jit(lambda *inputs: attention.attend_in_chunks(*inputs, True, chunk=500)).lower(shape, shape, shape).compile()
    assert square_shapes(compiled, 500)


def test_attention_refuses_channels_that_do_not_divide_into_heads():
    with pytest.raises(UserError, match='6 channels do not divide into 2 x 2 heads'):
        attention.MaskedAttention(2).init(jax.random.key(0), jnp.zeros((1, 3, 3, 6)))


def test_raster_convolutions_around_zigzag_attention_keep_neither_order():
    """What the paper's code does: 9 x 9, two layers before and two after, and the violations that papers.md counts."""
    kernels = positive(5, (4, 3, 3, 1, 1))
    layer, variables = attention_and_variables(1, 2, scale=0.5)
    ordering = ORDERINGS['zigzag_A1']

    def network(x):
        for kernel in kernels[:2]:
            x = masked_conv(kernel, x, ordering, zigzag_shift='raster') / 9
        x = jnp.sum(layer.apply(variables, jnp.stack([x, -(x**2)], axis=-1)[None], ordering)[0], axis=-1)
        for kernel in kernels[2:]:
            x = masked_conv(kernel, x, ordering, zigzag_shift='raster') / 9
        return x

    seen = np.asarray(jax.jit(jax.jacrev(network))(positive(6, (9, 9))) != 0)
    violations = []
    for name in ('A1', 'zigzag_A1'):
        ranks = orderings.rank(ORDERINGS[name], 9, 9)
        violations.append(int(seen[ranks[None, None] > ranks[:, :, None, None]].sum()))
    assert violations == [650, 88]


@pytest.mark.parametrize(('size', 'padding'), [(3, ((1, 1), (1, 1))), (2, ((0, 0), (0, 0))), (2, ((0, 1), (0, 0)))])
@pytest.mark.parametrize('height', [8, 9])
def test_a_pool_is_that_of_flax_and_so_is_its_gradient(size, padding, height, monkeypatch):
    x = normal(0, (2, height, 6, 5))

    def values_and_gradient(platform):
        monkeypatch.setattr(layers, 'platform', lambda: platform)
        found, pull = jax.vjp(lambda x: layers.max_pool(x, size, 2, padding), x)
        return found, pull(normal(1, found.shape))[0]

    (ours, our_gradient), (theirs, their_gradient) = map(values_and_gradient, ('cpu', 'gpu'))
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(our_gradient, their_gradient, rtol=1e-6, atol=1e-6)  # windows are added in another order


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_equal_cells_share_the_gradient_of_a_pool_and_padding_has_none_of_it(dtype):
    x = jnp.zeros((1, 4, 4, 1), dtype)
    found, pull = jax.vjp(lambda x: layers.max_pool(x, 3, 2, ((1, 1), (1, 1))), x)
    gradient = pull(jnp.ones_like(found))[0]
    assert float(found.max()) == float(found.min()) == 0
    assert float(gradient.astype('float32').sum()) == 4 and float(gradient.min()) >= 0


@pytest.mark.parametrize('platform', ['cpu', 'gpu'])
def test_a_pointwise_layer_is_a_dense_one_in_the_precision_it_is_given(platform, monkeypatch):
    """With its parameters, whose values files of trained weights have by these names; on GPUs positions are one axis."""
    monkeypatch.setattr(layers, 'platform', lambda: platform)
    x, dense = normal(0, (2, 3, 4, 5)), nn.Dense(7, kernel_init=nn.initializers.xavier_normal())
    variables, expected = (layer.init(jax.random.key(0), x) for layer in (layers.Pointwise(7, jnp.float32), dense))
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    variables = random_variables(dense, x)
    np.testing.assert_allclose(layers.Pointwise(7, jnp.float32).apply(variables, x), dense.apply(variables, x), rtol=1e-5)
    half = layers.Pointwise(7, jnp.bfloat16).apply(variables, x)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), dense.apply(variables, x), atol=0.1)


def explicit_residual_block(params, x, taps, padding):
    """Table 4 of the supplement in float64 loops: the map is padded and read tap by tap at every pixel."""
    params = jax.tree.map(lambda array: np.asarray(array, np.float64), params)
    x = np.asarray(x, np.float64)
    batch, height, width, channels = x.shape
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    convolved = np.zeros((batch, height, width, 2 * channels)) + params['conv_0']['bias']
    for image, i, j in np.ndindex(batch, height, width):
        for row, column in np.argwhere(taps):
            convolved[image, i, j] += padded[image, i + row, j + column] @ params['conv_0']['kernel'][row, column]

    def pointwise(x, index):
        return np.maximum(x @ params[f'conv_{index}']['kernel'] + params[f'conv_{index}']['bias'], 0)

    first = pointwise(np.maximum(convolved, 0), 1) + np.concatenate([x, np.zeros_like(x)], axis=-1)
    second = pointwise(pointwise(first, 2), 3) + first
    return pointwise(pointwise(second, 4), 5) + second


@pytest.mark.parametrize('name', [None, 'A1', 'C2', 'B4', 'D3'])
def test_the_residual_block_is_that_of_table_4(name, supplement):
    x = normal(0, (2, 4, 5, 3))
    ordering = None if name is None else ORDERINGS[name]
    block = layers.ResidualBlock()
    params = random_variables(block, x, scale=0.3)['params']
    support = (np.ones((3, 3)), ((1, 1), (1, 1))) if name is None else supplement(name)
    turned = x if ordering is None else orderings.into_frame(x, ordering)
    found = jax.jit(lambda turned: block.apply({'params': params}, turned, ordering))(turned)
    found = found if ordering is None else orderings.out_of_frame(found, ordering)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 38 * 3**2 + 12 * 3
    np.testing.assert_allclose(found, explicit_residual_block(params, x, *support), rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only_and_never_on_the_shortcut():
    x = normal(0, (2, 3, 3, 2))
    variables = random_variables(layers.ResidualBlock(), x)

    def apply(rate, train, seed=0):
        return layers.ResidualBlock(dropout=rate).apply(variables, x, train=train, rngs={'dropout': jax.random.key(seed)})

    undropped = apply(0.0, True)
    np.testing.assert_array_equal(apply(0.5, False), undropped)
    np.testing.assert_array_equal(apply(0.5, True), apply(0.5, True))
    assert (apply(0.5, True) != undropped).any() and (apply(0.5, True) != apply(0.5, True, seed=1)).any()
    np.testing.assert_array_equal(apply(1.0, True), jnp.concatenate([x, jnp.zeros_like(x)], axis=-1))


@pytest.mark.parametrize('stride', [2, 4])
@pytest.mark.parametrize('rows, columns, cut', [(3, 5, 0), (4, 4, 1), (1, 2, 1)])
@pytest.mark.parametrize('between', [False, True])
def test_upsampling_is_bilinear_between_the_centres_of_cells(rows, columns, cut, stride, between):
    x = normal(0, (2, rows, columns, 3))
    height, width = rows * stride - cut, columns * stride - cut
    first = (stride - 1) / 2 if between else 0.0
    found = layers.upsample(x, stride, height, width, first)
    coordinates = (np.indices((height, width)) - first) / stride
    for image, channel in np.ndindex(2, 3):
        expected = ndimage.map_coordinates(x[image, :, :, channel], coordinates, order=1, mode='nearest')
        np.testing.assert_allclose(found[image, :, :, channel], expected, rtol=1e-4, atol=1e-5)
