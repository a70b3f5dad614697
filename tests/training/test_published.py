"""Weights as other programs publish them: every array finds its place, and networks compute what torch computes with them."""

import importlib
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict
from safetensors.numpy import load_file, save_file

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import ModelState
from ar_seg_jax.models import resnet
from ar_seg_jax.models.resnet_fpn import ResNetFPN
from ar_seg_jax.models.segformer import FORMS, Decoder, Encoder, SegFormer
from ar_seg_jax.models.vit import ViT
from ar_seg_jax.training.published import mit, resnet18, vit
from ar_seg_jax.training.published.layout import translate
from ar_seg_jax.training.weights import InitialWeights
from configs import common
from tests.support import published, tiny
from tests.support.commands import ROOT
from tests.support.published import (
    DECODE_HEAD,
    EVERY,
    MIT,
    MIT_IMAGES,
    REAL_IMAGES,
    RESNET_IMAGES,
    RESNET_WIDTH,
    VIT,
    VIT_HEADS,
    VIT_IMAGES,
    VIT_KINDS,
)

STORED = np.load(ROOT / 'tests' / 'references' / 'torch_encoders.npz')
REAL = ROOT.parent / 'shared' / 'weights' / 'vit_tiny_patch16.safetensors'


def fpn(**options):
    chosen = {**common.resnet_fpn(), 'width': 3, 'base_channels': RESNET_WIDTH, **options}
    del chosen['name']
    return ResNetFPN(heads=FrozenDict({'decoder': 2}), **chosen)


def transformer(**options):
    chosen = {**common.vit(), 'attention_heads': VIT_HEADS, **options}
    del chosen['name']
    return ViT(heads=FrozenDict({'decoder': 2}), **chosen)


def segformer(**options):
    chosen = {**common.segformer(), **options}
    del chosen['name']
    return SegFormer(heads=FrozenDict({'decoder': 2}), **chosen)


def mix_transformer(**options):
    return Encoder(**{**MIT, 'drop_path': 0.1, 'dtype': 'float32', 'remat': False, **options})


def shapes_of(model):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))


def state_of(model, value=9.0):
    """Every number is the same, and not one of a file."""
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, value, leaf.dtype), shapes_of(model))
    return ModelState(jnp.int32(0), variables['params'], {'batch_stats': variables.get('batch_stats', {})})


def load(path, model, into, layout, of='', without=()):
    """The variables of a model that begins with a file."""
    state = InitialWeights(str(path), of, into, without, layout).put(state_of(model))
    return {'params': state.params, **state.extra}


def saved(path, arrays):
    save_file(arrays, path)
    return path


def assert_close(found, expected):
    assert found.shape == expected.shape and np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-4)


def _forms(group):
    """Shapes by path, of variables by collection."""
    leaves = jax.tree_util.tree_leaves_with_path(group)
    return {jax.tree_util.keystr(place, simple=True, separator='/'): leaf.shape for place, leaf in leaves}


def _places(shapes, layout):
    """The shapes of arrays in a layout, by their places here."""
    arrays = {name.replace('.', '/'): np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    found = translate(arrays, layout)
    assert not found.unknown
    return {place: array.shape for place, array in found.arrays.items()}


def test_every_array_of_torchvision_s_resnet_18_has_its_place():
    shapes = published.resnet18()
    counted = {name: shape for name, shape in shapes.items() if not name.endswith('num_batches_tracked')}
    assert len(counted) == 102 and len(shapes) == 122
    trained = [shape for name, shape in counted.items() if 'running' not in name]
    assert sum(int(np.prod(shape)) for shape in trained) == 11_689_512
    variables = shapes_of(fpn(base_channels=64))
    wanted = _forms({collection: tree['resnet'] for collection, tree in variables.items()})
    assert _places(shapes, resnet18.LAYOUT) == wanted


@pytest.mark.parametrize(
    ('options', 'count'),
    [
        ({'width': 384, 'patch': 16, 'grid': 14}, 21_665_664),
        ({'width': 384, 'patch': 8, 'grid': 28}, 21_670_272),
        ({'width': 768, 'patch': 16, 'grid': 14}, 85_798_656),
        ({'width': 768, 'patch': 8, 'grid': 28}, 85_807_872),
        ({'width': 384, 'patch': 14, 'grid': 37, 'layer_scale': True}, 22_056_576),
        ({'width': 384, 'patch': 14, 'grid': 37, 'layer_scale': True, 'registers': 4}, 22_058_112),
        ({'width': 768, 'patch': 14, 'grid': 37, 'layer_scale': True}, 86_580_480),
    ],
)
def test_every_array_of_dino_and_dinov2_has_its_place(options, count):
    shapes = published.vit(depth=12, **options)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == count
    wanted = _forms({'params': shapes_of(transformer(**options))['params']['encoder']})
    assert _places(shapes, vit.LAYOUT) == wanted


@pytest.mark.parametrize('variant', ['B0', 'B2'])
def test_every_array_of_a_mix_transformer_has_its_place(variant):
    """In the names of Hugging Face, with and without what they begin with, and in those of NVIDIA."""
    shapes = published.mit(*FORMS[variant][:2])
    wanted = _forms({'params': shapes_of(segformer(variant=variant))['params']['encoder']})
    bare = {name.removeprefix('segformer.encoder.'): shape for name, shape in shapes.items()}
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    original = {name: array.shape for name, array in published.as_nvidia_has_them(arrays).items()}
    assert len(shapes) - len(original) == 2 * sum(FORMS[variant].depths)
    for named in (shapes, bare, original):
        assert _places(named, mit.LAYOUT) == wanted


@pytest.fixture(scope='module')
def resnet_file(tmp_path_factory):
    return saved(tmp_path_factory.mktemp('files') / 'resnet.safetensors', published.filled(published.resnet18(RESNET_WIDTH)))


@pytest.mark.parametrize('name', RESNET_IMAGES)
def test_stages_of_resnet_18_are_those_of_torch(resnet_file, name):
    variables = load(resnet_file, fpn(), 'resnet', 'torchvision_resnet18')
    inner = {collection: tree['resnet'] for collection, tree in variables.items()}
    network = resnet.strided(RESNET_WIDTH, 'float32')
    found = jax.jit(network.apply, compiler_options=tiny.QUICK)(inner, published.images(*RESNET_IMAGES[name]))
    for stage, maps in enumerate(found):
        assert_close(maps, STORED[f'resnet_{name}_{stage}'])
    assert set(np.unique(variables['params']['lateral_res5']['kernel'])) == {9.0}  # what is no part of it stays as it is


def test_training_normalises_with_statistics_of_the_batch_as_torch_does(resnet_file):
    """And moves the running ones as far; torch's variance is that of a sample, larger by n / (n - 1)."""
    variables = load(resnet_file, fpn(), 'resnet', 'torchvision_resnet18')
    inner = {collection: tree['resnet'] for collection, tree in variables.items()}
    network = resnet.strided(RESNET_WIDTH, 'float32')

    def trained(variables, image):
        return network.apply(variables, image, train=True, mutable=['batch_stats'])

    maps, updated = jax.jit(trained, compiler_options=tiny.QUICK)(inner, published.images(*RESNET_IMAGES['odd']))
    assert_close(maps[-1], STORED['resnet_training'])
    moved, before = (tree['batch_stats']['stage0_block0_0_norm'] for tree in (updated, inner))
    np.testing.assert_allclose(moved['mean'], STORED['resnet_running_mean'], rtol=1e-4, atol=1e-5)
    cells = 2 * 12 * 18
    of_the_batch = (STORED['resnet_running_var'] - 0.9 * np.asarray(before['var'])) * (cells - 1) / cells
    np.testing.assert_allclose(moved['var'], 0.9 * np.asarray(before['var']) + of_the_batch, rtol=1e-5)


@pytest.mark.parametrize('kind', VIT_KINDS)
def test_tokens_of_a_vision_transformer_are_those_of_torch(tmp_path, kind):
    """At the size of its position embedding and at others, which the embedding is resampled to."""
    options = VIT_KINDS[kind]
    path = saved(tmp_path / 'vit.safetensors', published.filled(published.vit(**VIT, **options)))
    model = transformer(**VIT, **options, resampling='antialias' if kind == 'registers' else 'dino')
    variables = load(path, model, 'encoder', 'vit')
    for name, shape in VIT_IMAGES.items():
        found = jax.jit(model.apply, compiler_options=tiny.QUICK)(variables, published.images(*shape))
        assert_close(found['features'], STORED[f'vit_{kind}_{name}'])


@pytest.mark.parametrize('of_nvidia', [False, True])
def test_stages_of_a_mix_transformer_are_those_of_torch(tmp_path, of_nvidia):
    arrays = published.filled(published.mit(**MIT))
    path = saved(tmp_path / 'mit.safetensors', published.as_nvidia_has_them(arrays) if of_nvidia else arrays)
    encoder = mix_transformer()
    variables = load(path, encoder, '', 'mit')
    for name, shape in MIT_IMAGES.items():
        found = jax.jit(encoder.apply, compiler_options=tiny.QUICK)(variables, published.images(*shape))
        for stage, maps in enumerate(found):
            assert_close(maps, STORED[f'mit_{name}_{stage}'])


@pytest.mark.parametrize('name', MIT_IMAGES)
def test_the_decode_head_of_segformer_is_that_of_torch(name):
    """Which interpolates before it joins the stages, the last one first; with running statistics and with those of the batch."""
    arrays = published.filled(published.decode_head(MIT['widths'], **DECODE_HEAD))
    arrays = {key.removeprefix('decode_head.'): array for key, array in arrays.items()}
    params = {'norm': {'scale': arrays['batch_norm.weight'], 'bias': arrays['batch_norm.bias']}}
    for stage, fuse in enumerate(np.split(arrays['linear_fuse.weight'][:, :, 0, 0], 4, axis=1)[::-1]):
        linear = f'linear_c.{stage}.proj'
        params[f'stage{stage}'] = {'kernel': arrays[f'{linear}.weight'].T, 'bias': arrays[f'{linear}.bias']}
        params[f'fuse_stage{stage}'] = {'kernel': fuse.T}
    statistics = {'norm': {'mean': arrays['batch_norm.running_mean'], 'var': arrays['batch_norm.running_var']}}
    stages = [jnp.asarray(STORED[f'mit_{name}_{stage}']) for stage in range(4)]
    decoder = Decoder(DECODE_HEAD['width'], 'paper', 'float32')
    variables = {'params': params, 'batch_stats': statistics}
    features = decoder.apply(variables, stages)
    trained, _ = decoder.apply(variables, stages, train=True, mutable=['batch_stats'])
    for maps, kind in ((features, 'logits'), (trained, 'training')):
        classified = maps @ arrays['classifier.weight'][:, :, 0, 0].T + arrays['classifier.bias'][None, None, None]
        assert_close(classified, STORED[f'mit_{name}_{kind}'])


@pytest.mark.skipif(not REAL.exists(), reason=f'published weights are not here: no file {REAL}')
def test_a_published_vision_transformer_computes_what_it_does_in_torch():
    model = transformer(width=192)
    variables = load(REAL, model, 'encoder', 'vit')
    assert sum(leaf.size for leaf in jax.tree.leaves(variables['params']['encoder'])) == 5_524_416
    for name, shape in REAL_IMAGES.items():
        found = jax.jit(model.apply, compiler_options=tiny.QUICK)(variables, published.images(*shape))
        np.testing.assert_allclose(found['features'][:, ::EVERY, ::EVERY], STORED[f'real_{name}'], rtol=1e-3, atol=1e-3)


def test_stored_activations_are_those_of_the_torch_that_is_installed():
    pytest.importorskip('torch', reason='torch, which only makes references, is not installed')
    reference = importlib.import_module('tests.references.torch_encoders')
    import torch

    with torch.no_grad():
        computed = reference.resnet() | reference.vit() | reference.mit()
    assert computed.keys() == {name for name in STORED if not name.startswith('real_')}
    for name, array in computed.items():
        np.testing.assert_allclose(array, STORED[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_part_of_a_file_goes_to_a_part_of_a_method(tmp_path, caplog):
    """A full checkpoint, in which a network is below a name that the state has too, for a model below another."""
    arrays = published.filled(published.resnet18(RESNET_WIDTH))
    path = tmp_path / 'file.npz'
    np.savez(path, epoch=np.array(3), **{f'batch_stats.backbone.{name}': array for name, array in arrays.items()})
    inner = state_of(fpn())
    state = ModelState(inner.step, {'network': inner.params}, {'batch_stats': {'network': inner.extra['batch_stats']}})
    weights = InitialWeights(str(path), 'batch_stats/backbone', 'network/resnet', (), 'torchvision_resnet18')
    with caplog.at_level(logging.INFO, 'ar_seg_jax'):
        found = weights.put(state)
    ignored = 'bn1/num_batches_tracked, fc/bias, fc/weight, layer1/0/bn1/num_batches_tracked, layer1/0/bn2/num_batches_tracked'
    assert [record.message for record in caplog.records] == [
        f'Weights from {path}: 100 arrays loaded',
        f'  left out, since encoders of this layout have no use for them: {ignored} and 17 more',
    ]
    kernel = found.params['network']['resnet']['stage1_block0_shortcut_conv']['kernel']
    np.testing.assert_array_equal(kernel[0, 0], arrays['layer2.0.downsample.0.weight'][:, :, 0, 0].T)
    variance = found.extra['batch_stats']['network']['resnet']['stem_norm']['var']
    np.testing.assert_array_equal(variance, arrays['bn1.running_var'])


def test_a_wrong_or_partial_file_is_refused_with_all_that_is_wrong(tmp_path):
    arrays = published.filled(published.resnet18(RESNET_WIDTH))
    del arrays['bn1.running_var'], arrays['layer4.1.conv2.weight']
    arrays |= {'conv1.weight': np.zeros((4, 5, 7, 7), np.float32), 'layer1.2.conv1.weight': np.zeros((4, 4, 3, 3), np.float32)}
    message = (
        r"file\.safetensors: not the weights of this model in the layout 'torchvision_resnet18': "
        r'it lacks batch_stats/resnet/stem_norm/var, params/resnet/stage3_block1_1_conv/kernel; '
        r'it has besides layer1/2/conv1/weight; '
        r'it has in another shape params/resnet/stem_conv/kernel \(7, 7, 5, 4\) instead of \(7, 7, 3, 4\)\. '
        r'See --config\.initial_weights\.of, \.into and \.without, and the options of config\.model$'
    )
    path = saved(tmp_path / 'file.safetensors', arrays)
    with pytest.raises(UserError, match=message):
        load(path, fpn(), 'resnet', 'torchvision_resnet18')


def test_a_stem_for_other_channels_can_be_left_as_it_is_drawn(resnet_file, tmp_path):
    arrays = {**load_file(resnet_file), 'conv1.weight': np.zeros((4, 5, 7, 7), np.float32)}
    path = saved(tmp_path / 'file.safetensors', arrays)
    found = load(path, fpn(), 'resnet', 'torchvision_resnet18', without=('resnet/stem_conv',))
    assert set(np.unique(found['params']['resnet']['stem_conv']['kernel'])) == {9.0}
    np.testing.assert_array_equal(found['params']['resnet']['stem_norm']['scale'], arrays['bn1.weight'])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'depth': 3}, r'it lacks params/encoder/block_2/attention_norm/bias, .* and 7 more\. See'),
        ({'depth': 1}, r'it has besides params/encoder/block_1/attention_norm/bias, .* and 7 more\. See'),
        ({'grid': 6}, r'it has in another shape params/encoder/position \(1, 26, 12\) instead of \(1, 37, 12\)\. See'),
        ({'layer_scale': True}, r'it lacks params/encoder/block_0/attention_scale/scale, .*/block_1/mlp_scale/scale\. See'),
    ],
)
def test_a_transformer_of_another_form_is_told(tmp_path, options, message):
    path = saved(tmp_path / 'vit.safetensors', published.filled(published.vit(**VIT)))
    with pytest.raises(UserError, match=message):
        load(path, transformer(**{**VIT, **options}), 'encoder', 'vit')


def test_a_mix_transformer_that_is_another_or_not_all_there_is_told(tmp_path):
    arrays = published.as_nvidia_has_them(published.filled(published.mit(**MIT)))
    del arrays['block2.1.attn.kv.weight'], arrays['norm4.bias']
    arrays['block2.1.attn.qkv.weight'] = np.zeros((18, 6), np.float32)
    path = saved(tmp_path / 'mit.safetensors', arrays)
    message = (
        r'it lacks params/stage1_block1/attention_key/kernel, params/stage1_block1/attention_value/kernel, '
        r'params/stage3_norm/bias; it has besides block2/1/attn/qkv/weight\. See'
    )
    with pytest.raises(UserError, match=message):
        load(path, mix_transformer(), '', 'mit')
    path = saved(tmp_path / 'other.safetensors', published.filled(published.mit(**MIT)))
    message = r'it has besides params/stage1_block1/attention_key/bias, .*; it has in another shape params/stage0_block0/.* See'
    with pytest.raises(UserError, match=message):
        load(path, mix_transformer(widths=(3, 6, 10, 8), depths=(1, 1, 1, 1)), '', 'mit')


def test_the_place_of_the_encoder_has_to_be_told(resnet_file):
    with pytest.raises(UserError, match=r'it lacks batch_stats/resnet/.* and 105 more; it has besides batch_stats/stage0_'):
        load(resnet_file, fpn(), '', 'torchvision_resnet18')
    with pytest.raises(UserError, match=r'none of its 122 arrays fits the model .* see .*weights\.of, \.into and \.layout$'):
        load(resnet_file, fpn(), '', 'own')
