"""A trained network from Python: what it gives for images, beside what `predict` writes."""

import dataclasses
import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import ar_seg_jax
from ar_seg_jax import build, files
from ar_seg_jax.data import images, textures
from ar_seg_jax.data.classes import Class
from ar_seg_jax.data.form import Form
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID, ModelState
from ar_seg_jax.prediction import tiling
from ar_seg_jax.prediction.network import Network
from ar_seg_jax.runs import workdir
from configs import common
from tests.support import clusterless, commands, tiny


@pytest.fixture(scope='module')
def network(trained):
    return ar_seg_jax.load(trained.directory)


@pytest.fixture(scope='module')
def image():
    """A collage, of a size that no stride divides."""
    grey, _ = textures.collage([textures.photograph(name, 0.5) for name in textures.PHOTOGRAPHS], 96, np.random.default_rng(0))
    return np.repeat(grey[:61, :83, None], 3, axis=2)


@pytest.fixture
def directory(trained, tmp_path):
    """A copy of the run, to be changed."""
    return shutil.copytree(trained.directory, tmp_path / 'run')


def test_python_and_predict_give_the_same_labels_for_a_picture(trained, network, image, tmp_path):
    Image.fromarray(image).save(tmp_path / 'image.png')
    options = (f'--workdir={trained.directory}', f'--input={tmp_path / "image.png"}', f'--output={tmp_path / "out"}')
    done = commands.run('predict', *options)
    assert done.returncode == 0, done.stderr
    labels = network.segment(image)
    assert labels.dtype == np.uint8 and len(np.unique(labels)) > 1
    written = np.array(Image.open(tmp_path / 'out' / 'image_labels.png'))
    assert np.mean(written == labels) > 0.999  # another compilation rounds differently
    classes = json.loads((tmp_path / 'out' / 'classes.json').read_text())['classes']
    assert [Class(entry['name'], tuple(entry['colour']), entry['group']) for entry in classes] == list(network.classes)


def test_a_batch_gives_what_each_of_its_images_gives(network, image):
    batch = np.stack([image, image[::-1], 255 - image])
    for function in (network.segment, network.scores, network.features):
        found = function(batch)
        assert len(found) == 3
        for one, expected in zip(found, batch, strict=True):
            np.testing.assert_array_equal(one, function(expected))
    assert not np.array_equal(found[0], found[2])


def test_the_class_of_a_pixel_is_that_of_its_likeliest_cluster(network, image):
    scores, labels = network.scores(image), network.segment(image)
    assert scores.shape == (61, 83, 3) and scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-5)
    for cluster in range(3):
        found = np.unique(labels[scores.argmax(-1) == cluster])
        assert set(found.tolist()) <= {network.mapping[cluster] % (VOID + 1)}
    np.testing.assert_array_equal(network.clusters(image), scores.argmax(-1))


def test_features_are_a_map_of_cells_that_the_scores_follow_from(network, image):
    """One block doubles the stem's 64 channels; cells are 4 pixels apart."""
    features = network.features(image)
    assert features.shape == (16, 21, 128) and features.dtype == np.float32
    assert features.std() > 0 and np.isfinite(features).all()
    decoder = network.state.params['decoder']
    logits = features @ np.asarray(decoder['kernel']) + np.asarray(decoder['bias'])
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    of_cells = exponentials / exponentials.sum(-1, keepdims=True)
    # Interpolated logits at the four pixels around the middle of a cell are close to its own.
    middle = network.scores(image)[1:57:4, 1:81:4]
    assert np.corrcoef(middle.ravel(), of_cells[:14, :20].ravel())[0, 1] > 0.95


def test_a_directory_is_named_by_a_text_or_a_path_and_a_step_is_chosen(trained, network, image):
    for directory, step in ((str(trained.directory), None), (trained.directory, 6), (trained.directory, 4)):
        loaded = ar_seg_jax.load(directory, step)
        assert int(loaded.state.step) == (step or 6)
        same = np.array_equal(loaded.scores(image), network.scores(image))
        assert same == (step != 4)
    with pytest.raises(UserError, match=r'checkpoints: no checkpoint of step 5; the steps are 4, 6$'):
        ar_seg_jax.load(trained.directory, 5)


def test_a_step_that_was_not_evaluated_has_clusters_with_numbers(trained, image):
    loaded = ar_seg_jax.load(trained.directory, 4)
    assert [entry.name for entry in loaded.classes] == ['cluster 0', 'cluster 1', 'cluster 2']
    np.testing.assert_array_equal(loaded.segment(image), loaded.scores(image).argmax(-1))


@pytest.mark.parametrize(
    ('wrong', 'found'),
    [
        (np.zeros((8, 8, 3), np.float32), r'float32 of shape \(8, 8, 3\)'),
        (np.zeros((8, 8, 4), np.uint8), r'uint8 of shape \(8, 8, 4\)'),
        (np.zeros((8, 8), np.uint8), r'uint8 of shape \(8, 8\)'),
        (np.zeros((1, 2, 8, 8, 3), np.uint8), r'uint8 of shape \(1, 2, 8, 8, 3\)'),
        (np.zeros((0, 8, 8, 3), np.uint8), r'uint8 of shape \(0, 8, 8, 3\)'),
    ],
)
@pytest.mark.parametrize('function', ['segment', 'scores', 'features'])
@pytest.mark.usefixtures('as_users_have_it')
def test_what_is_no_image_of_the_network_is_refused(network, function, wrong, found):
    message = rf'^expected an image of 8 bits \(uint8\) of height x width x 3, or a batch of them; found {found}$'
    with pytest.raises(UserError, match=message):
        getattr(network, function)(wrong)


def test_images_are_brought_to_the_scale_of_the_training_and_results_back(network, image, directory):
    workdir.save_data(directory, Form(3, 0.5, 0), network.classes, 'pack-0')
    halved, image = ar_seg_jax.load(directory), image[:60, :80]
    smaller = images.rescale(image, 0.5)
    labels = halved.segment(image)
    np.testing.assert_array_equal(labels, network.segment(smaller).repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(halved.features(image), network.features(smaller))
    assert halved.scores(image).shape == (60, 80, 3)
    np.testing.assert_allclose(halved.scores(image).reshape(30, 2, 40, 2, 3).mean((1, 3)), network.scores(smaller), atol=0.02)


@pytest.mark.usefixtures('as_users_have_it')
def test_images_of_16_bits_are_brought_to_8_by_the_ranges_of_the_training_and_once_only(network, image):
    deep = dataclasses.replace(network, form=Form(ranges=((1000.0, 1510.0),) * 3))
    numbers = image.astype(np.uint16) * 2 + 1000
    for function in ('segment', 'scores', 'features', 'clusters'):
        np.testing.assert_array_equal(getattr(deep, function)(numbers), getattr(network, function)(image))
    with pytest.raises(UserError, match=r'^expected an image of numbers of height x width x 3, .* found bool of shape'):
        deep.segment(image > 7)


def test_images_are_brought_to_the_shorter_side_of_the_training_and_results_back(network, image, directory):
    workdir.save_data(directory, Form(3, 1.0, 30), network.classes, 'pack-0')
    halved, image = ar_seg_jax.load(directory), image[:60, :80]
    np.testing.assert_array_equal(halved.features(image), network.features(images.rescale(image, 0.5)))
    assert halved.segment(image[:, :70]).shape == (60, 70)


@pytest.mark.parametrize(
    ('channels', 'rescale', 'message'),
    [
        (17, 1.0, r'images have 3 channels \(RGB\) or up to 16 \(as stored\), found 17'),
        (3, 0.0, r'rescale is a number from 0\.001 to 1000, found 0\.0'),
        (3, 'x', r"rescale is a number from 0\.001 to 1000, found 'x'"),
    ],
)
@pytest.mark.usefixtures('as_users_have_it')
def test_channels_and_scales_that_cannot_be_are_refused(directory, channels, rescale, message):
    files.write_json(directory / 'data.json', {'channels': channels, 'rescale': rescale, 'classes': []})
    with pytest.raises(DataError, match=rf'data\.json: {message}$'):
        ar_seg_jax.load(directory)


def test_images_of_other_channels_than_the_model_normalises_are_refused(directory, network, monkeypatch):
    monkeypatch.setitem(build.MODELS, 'autoregressive', tiny.normalising((0.5,) * 3, (0.2,) * 3))
    workdir.save_data(directory, Form(4, 1.0, 0), network.classes, 'pack-0')
    with pytest.raises(UserError, match=r"normalises images of 3 channels, but those of config\.data 'textures' have 4; "):
        ar_seg_jax.load(directory)


@pytest.mark.usefixtures('as_users_have_it')
def test_a_method_without_clusters_has_features_only(network, image, directory, monkeypatch):
    clusterless.instead_of_ac(monkeypatch)
    loaded = ar_seg_jax.load(directory)
    np.testing.assert_allclose(loaded.features(image), network.features(image), rtol=1e-4, atol=1e-5)
    assert (len(loaded.mapping), loaded.classes) == (0, ())
    for function in (loaded.segment, loaded.scores, loaded.clusters):
        with pytest.raises(UserError, match=r'^Clusterless predicts no clusters, so there is nothing .*; take features\(\) in '):
            function(image)


def test_a_method_that_predicts_no_features_says_what_it_predicts(network, image, monkeypatch):
    monkeypatch.setattr(clusterless.Clusterless, 'predict', lambda self, params, extra, image: {'logits': image})
    other = dataclasses.replace(network, method=clusterless.Clusterless(**vars(network.method)))
    with pytest.raises(UserError, match=r'^Clusterless predicts no features; what it predicts is logits'):
        other.features(image)


def test_classes_of_another_number_of_clusters_are_refused(directory):
    place = workdir.evaluation(directory, 6)
    content = json.loads(place.read_text())
    content['segmentation']['clusters']['mapping'] = [0, -1]
    files.write_json(place, content)
    message = r'000006\.json: classes of 2 clusters, but the model has 3; evaluate the step again$'
    with pytest.raises(UserError, match=message):
        ar_seg_jax.load(directory)


@pytest.mark.parametrize(
    ('options', 'way'),
    [({'blocks': 5, 'output_stride': 2}, 'segment'), ({'blocks': 2, 'attention': True}, 'blend'), ({'variant': 'F5'}, 'blend')],
)
def test_tiles_pass_into_one_another_where_a_model_reaches_beyond_their_margins(monkeypatch, network, image, options, way):
    """And they begin at cells of the model."""
    asked = []

    def note(name, image, stride):
        asked.append((name, stride))
        return np.zeros(image.shape[:2], np.uint8)

    for name in ('segment', 'blend'):
        monkeypatch.setattr(tiling, name, lambda _, *rest, name=name: note(name, *rest))
    dataclasses.replace(network, method=tiny.ac(options)).in_tiles(image)
    assert asked == [(way, options.get('output_stride', 4))]


@pytest.mark.parametrize(('relative', 'layout', 'tiled'), [('mean', 0, False), ('none', 4, False), ('none', 0, True)])
def test_large_images_are_seen_whole_by_methods_that_say_so(monkeypatch, relative, layout, tiled):
    """An image of 600 x 560 pixels. Its tiles have other means and other places; where these do not matter, there are tiles, and
    they make no difference."""
    cut = []

    def note(way, *arguments):
        cut.append(way)
        return way(*arguments)

    for name in ('segment', 'blend'):
        monkeypatch.setattr(tiling, name, functools.partial(note, getattr(tiling, name)))
    options = common.mixture() | {'layout': layout, 'smoothing': 1, 'initial_batches': 1, 'vectors_of_image': 100}
    method = build.method({'method': options, 'model': common.colours() | {'relative': relative}})
    noise = np.random.default_rng(0).integers(0, 100, (600, 560, 3))
    image = np.uint8(noise + np.linspace(0, 150, 560)[:, None])
    batch = {'image': jnp.asarray(image[None, ::10, ::10]), 'label': jnp.zeros((1, 60, 56), jnp.uint8)}
    state = method.init(jax.random.key(0), batch['image'])
    params, extra = method.refresh(*state, iter([batch]), key=jax.random.key(1), time=tiny.BEGINNING)
    found = Network(method, ModelState(0, params, extra), (0, 1, 2), (), Form()).segment(image)
    assert bool(cut) == tiled
    expected = np.asarray(method.predict(params, extra, jnp.asarray(image[None]))['scores'])[0].argmax(-1)
    assert np.mean(found == expected) > 0.9999  # another compilation rounds differently
    assert len(np.unique(expected)) == 3
