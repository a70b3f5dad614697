"""Trained networks as files: run without the package, compared with the network itself."""

import dataclasses
import json
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import ar_seg_jax
from ar_seg_jax import build
from ar_seg_jax.data.classes import numbered
from ar_seg_jax.data.form import Form
from ar_seg_jax.errors import UserError
from ar_seg_jax.exporting import deepness, program, stablehlo
from ar_seg_jax.interfaces import VOID, ModelState
from ar_seg_jax.models.vit import ViT
from ar_seg_jax.prediction.network import Network
from ar_seg_jax.training import weights
from configs import common
from tests.support import commands, methods, scenes, tiny

SMALL_VIT = {**common.vit(), 'patch': 8, 'width': 8, 'depth': 1, 'attention_heads': 2, 'grid': 12}
# A program for whoever has JAX, NumPy and flatbuffers alone.
ALONE = """
import sys
import jax.export, numpy
file, images, output = sys.argv[1:]
program = jax.export.deserialize(bytearray(open(file, 'rb').read()))
found = {name: program.call(image) for name, image in numpy.load(images).items()}
numpy.savez(output, **{f'{name}_{part}': array for name, parts in found.items() for part, array in parts.items()})
assert not [name for name in sys.modules if name.startswith(('ar_seg_jax', 'flax'))]
print(program.platforms, program.in_avals[0].dtype)
"""


def images_of(*shapes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, np.uint8) for shape in shapes]


def export(trained, kind, output, *options):
    done = commands.run('export', f'--workdir={trained.directory}', f'--format={kind}', f'--output={output}', *options)
    assert done.returncode == 0, done.stderr
    return json.loads(output.with_name(f'{output.name}.json').read_text())


def network_of(method):
    """With weights as they are drawn, but for what begins as zeros or equal for all clusters, where mistakes would not show."""

    def moved(leaf):
        return leaf + 0.1 * jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)

    image = jnp.zeros((1, 32, 32, 3), jnp.uint8)
    params, extra = jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), image)
    params, extra = jax.tree.map(moved, params), dict(extra)
    if 'moments' in extra:
        extra |= {name: jax.tree.map(moved, extra[name]) for name in ('projection', 'layout')}
        extra['moments'] = extra['moments']._replace(first=moved(extra['moments'].first))
    classes = numbered('cluster', method.num_clusters)
    return Network(method, ModelState(jnp.int32(0), params, extra), range(method.num_clusters), classes, Form())


def scores_of(network, image):
    state = network.state
    predict = jax.jit(
        lambda image: network.method.predict(state.params, state.extra, image)['scores'], compiler_options=tiny.QUICK
    )
    return predict(image)


def test_stablehlo_runs_without_the_package_and_gives_its_scores_and_labels(trained, tmp_path):
    pytest.importorskip('flatbuffers', reason='flatbuffers, which files of jax.export need, is not installed')
    names = tmp_path / 'names.json'
    names.write_text(json.dumps({'names': {'0': 'road', '1': 'road', '2': None}}))
    told = export(trained, 'stablehlo', tmp_path / 'model.stablehlo', f'--names={names}')
    one, two = images_of((1, 61, 83, 3), (2, 48, 33, 3))
    np.savez(tmp_path / 'images.npz', one=one, two=two)
    (tmp_path / 'alone.py').write_text(ALONE)
    environment = {name: value for name, value in commands.environment().items() if name != 'PYTHONPATH'}
    done = subprocess.run(
        [sys.executable, 'alone.py', 'model.stablehlo', 'images.npz', 'found.npz'],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "('cpu', 'cuda', 'tpu') uint8\n"), done.stderr
    network = ar_seg_jax.load(trained.directory, names=names)
    found = np.load(tmp_path / 'found.npz')
    for name, image in {'one': one, 'two': two}.items():
        np.testing.assert_allclose(found[f'{name}_scores'], network.scores(image), atol=1e-5)
        assert np.mean(found[f'{name}_labels'] == network.segment(image)) > 0.999  # another compilation rounds differently
    road = next(place for place, entry in enumerate(told['classes']) if entry['name'] == 'road')
    assert told['class_of_cluster'] == [road, road, -1] and set(np.unique(found['two_labels'])) <= {road, VOID}
    assert told['sizes'] == 'any' and told['step'] == 6 and told['platforms'] == ['cpu', 'cuda', 'tpu']
    assert told['config'] == json.loads((trained.directory / 'config.json').read_text())


def test_safetensors_hold_what_a_training_would_take_from_the_run_itself(trained, tmp_path):
    path = tmp_path / 'deeper' / 'model.safetensors'
    told = export(trained, 'safetensors', path)
    saved = commands.model_of(trained.directory, 6)
    expected = {
        jax.tree_util.keystr(place, simple=True, separator='/'): leaf
        for place, leaf in jax.tree_util.tree_leaves_with_path({'params': saved['params'], **saved['extra']})
    }
    read, of_run = weights.read(path), weights.read(trained.directory)
    assert read.keys() == load_file(path).keys() == expected.keys() == of_run.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array)
        np.testing.assert_array_equal(of_run[name], array)
    assert [entry['name'] for entry in told['classes']] == ['brick', 'grass', 'gravel']


@pytest.mark.parametrize('name', sorted(set(methods.NAMES) - {'ast', 'turned'}))  # which predict no classes of pixels
def test_every_method_takes_batches_of_any_length_and_images_of_any_size(name, as_users_have_it):
    method = methods.made(name)
    key, image = jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.uint8)
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(method.init, key, image))
    state = ModelState(jnp.int32(0), *blank)
    found, sizes = stablehlo.exported(Network(method, state, range(method.num_clusters), (), Form()))
    assert sizes.words == ('at least 64 pixels on each side' if isinstance(method.model, ViT) else 'any')
    assert found.platforms == ('cpu', 'cuda', 'tpu') and found.nr_devices == 1
    assert [str(side) for side in found.in_avals[0].shape] == ['batch', 'height', 'width', '3']


@pytest.mark.parametrize(
    ('method', 'words', 'sides'),
    [
        (tiny.ac({'blocks': 2, 'attention': True}), 'any', [(37, 50)]),
        # Sides of 96 pixels are those of the embedding, which then is not resampled.
        (
            build.method({'method': {**common.mixture(), 'components': 3, 'layout': 2, 'smoothing': 1}, 'model': SMALL_VIT}),
            'at least 64 pixels on each side',
            [(66, 90), (96, 96)],
        ),
    ],
    ids=['attention', 'vit'],
)
def test_the_form_for_any_platform_gives_the_scores_of_the_usual_one(method, words, sides, as_users_have_it):
    network = network_of(method)
    found, sizes = stablehlo.exported(network)
    assert sizes.words == words
    for side in sides:
        (image,) = images_of((1, *side, 3))
        scores = found.call(image)['scores']
        expected = scores_of(network, image)
        assert expected.std() > 0.01
        np.testing.assert_allclose(scores, expected, atol=2e-5)


def test_images_of_one_size_can_be_asked_for(as_users_have_it):
    found, sizes = stablehlo.exported(network_of(tiny.ac()), side=40)
    assert [str(side) for side in found.in_avals[0].shape] == ['batch', '40', '40', '3'] and sizes.words == '40 x 40 pixels'


def test_a_network_that_has_to_know_sizes_is_refused(monkeypatch, as_users_have_it):
    network = network_of(tiny.ac())

    def predict(method, params, extra, image):
        return {'scores': jnp.zeros((*image.shape[:3], 3 if image.shape[1] > 1000 else 4))}

    monkeypatch.setattr(type(network.method), 'predict', predict)
    with pytest.raises(UserError, match='AC with this model has to know the size of images; give one by --tile_size'):
        stablehlo.exported(network)


def test_methods_without_classes_of_pixels_are_refused(as_users_have_it):
    network = Network(scenes.method(), ModelState(jnp.int32(0), {}, {}), range(4), (), Form())
    with pytest.raises(UserError, match=r'AST finds objects, whose numbers are no classes; .* --format=safetensors'):
        program.program(network)
    without = SimpleNamespace(title='Clusterless', num_clusters=0)
    with pytest.raises(UserError, match='Clusterless predicts no clusters'):
        program.program(dataclasses.replace(network, method=without))


def test_onnx_runs_without_jax_and_gives_the_scores_of_classes(trained, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime', reason='ONNX Runtime, which only --format=onnx needs, is not installed')
    pytest.importorskip('jax2onnx', reason='jax2onnx, which only --format=onnx needs, is not installed')
    names = tmp_path / 'names.json'
    names.write_text(json.dumps({'names': {'0': 'road', '1': 'road', '2': None}}))
    options = (f'--names={names}', '--tile_size=64', '--resolution=5')
    told = export(trained, 'onnx', tmp_path / 'model.onnx', *options)
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx')
    metadata = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert list(metadata['class_names'].values()) == told['channels'] == ['brick', 'grass', 'gravel', 'road', 'no class']
    assert metadata['model_type'] == 'Segmentor' and metadata['resolution'] == 5 and metadata['tiles_size'] == 64
    (image,) = images_of((64, 64, 3))
    (found,) = session.run(None, {'image': np.float32(image.transpose(2, 0, 1)[None] * 1.0 / 255.0)})
    scores = ar_seg_jax.load(trained.directory).scores(image).transpose(2, 0, 1)
    np.testing.assert_allclose(found[0, 3], scores[0] + scores[1], atol=1e-4)
    np.testing.assert_allclose(found[0, 4], scores[2], atol=1e-4)
    assert not found[0, :3].any()


@pytest.fixture
def tile_and_scores(monkeypatch):
    """A tile, the scores that it should have, and an ONNX Runtime, which gives those scores and so much more."""
    tile, scores = np.zeros((1, 3, 4, 4), np.float32), np.full((1, 2, 4, 4), 0.5, np.float32)

    def runtime(more):
        session = SimpleNamespace(run=lambda names, feed: [scores + np.float32(more) * (np.arange(4) == 3)])
        fake = SimpleNamespace(SessionOptions=SimpleNamespace, InferenceSession=lambda *_, **__: session)
        monkeypatch.setitem(sys.modules, 'onnxruntime', fake)

    return tile, scores, runtime


def test_onnx_that_is_not_what_jax_computes_is_refused(tile_and_scores, as_users_have_it):
    tile, scores, runtime = tile_and_scores
    network = SimpleNamespace(method=SimpleNamespace(title='AC'))
    runtime(5e-5)
    deepness.check(network, b'', tile, scores)
    for more, words in ((2e-4, '0.0002'), (np.nan, 'nan')):
        runtime(more)
        with pytest.raises(UserError, match=f'jax2onnx converts AC with this model wrongly: its scores differ .* up to {words};'):
            deepness.check(network, b'', tile, scores)


def test_what_is_not_installed_is_named(monkeypatch, as_users_have_it):
    for name in ('flatbuffers', 'jax2onnx'):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not there
    with pytest.raises(UserError, match=r"--format=stablehlo needs the package flatbuffers: pip install 'ar_seg_jax\[export\]'"):
        stablehlo.serialized(None)
    with pytest.raises(UserError, match='--format=onnx needs the package jax2onnx; docs/export'):
        deepness.exported(None)
