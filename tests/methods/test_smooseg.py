"""SmooSeg: its loss recomputed, what each part trains, the teacher, and predictions of the interpolated code."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from ar_seg_jax import build
from ar_seg_jax.data import builder, textures
from ar_seg_jax.data.dataset import Dataset
from ar_seg_jax.errors import UserError
from ar_seg_jax.objectives.smoothness import Moments, energy
from ar_seg_jax.training import gradients, optimizer
from ar_seg_jax.training.task import Task
from ar_seg_jax.training.weights import InitialWeights
from configs import common
from tests.support import feeds, methods, tiny

pytestmark = pytest.mark.usefixtures('compiled_once')
KEY = jax.random.key(1)
# Without dropout, so that a forward pass of inference is one of training.
OPTIONS = {'num_clusters': 3, 'width': 5, 'dropout': 0.0}


def _made(**options):
    model = methods.config('smooseg')['model']
    return build.method({'method': common.smooseg() | OPTIONS | options, 'model': model})


@pytest.fixture(scope='module')
def method():
    return _made()


@pytest.fixture(scope='module')
def state(method):
    """With a student that has moved away from the teacher."""
    params, extra = method.init(jax.random.key(0), tiny.random_batch()['image'])
    moved = params['prototypes'] + 0.5 * jax.random.normal(jax.random.key(2), params['prototypes'].shape)
    return {**params, 'prototypes': moved}, extra


@pytest.fixture(scope='module')
def step(method):
    return tiny.stepper(method)


def _code(method, params, extra, image):
    features = method.features(params, extra, image)
    return np.asarray(features), np.asarray(method.projector.apply({'params': params['projector']}, features)[0])


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize('void', [False, True])
def test_the_loss_is_that_of_the_released_code(method, state, step, void):
    """Features and codes are the network's; the rest is computed anew, but for the smoothness, which has tests of its own."""
    params, extra = state
    batch = tiny.with_void(tiny.random_batch(), below=5) if void else tiny.random_batch()
    (loss, (_, metrics)), _ = step(params, extra, batch, KEY)
    features, code = _code(method, params, extra, batch['image'])
    counted = np.ones(code.shape[:3], bool)
    counted[:, :1] = not void  # the centre of the first row of cells is in pixel 1, that of the second one in pixel 5
    teacher = _unit(code) @ _unit(np.asarray(extra['teacher'])).T
    probabilities = softmax(teacher / 0.1, axis=-1)
    moments = Moments.of_maps(jnp.asarray(features), jnp.asarray(probabilities), jnp.asarray(counted))
    others = Moments(*(jnp.concatenate([leaf[1:], leaf[:1]]) for leaf in moments))
    student = softmax(_unit(code) @ _unit(np.asarray(params['prototypes'])).T, axis=-1)
    parts = {
        'within': energy(moments, moments, -0.02),
        'between': energy(moments, others, 0.5),
        'cross_entropy': np.mean(-np.log(student[counted, teacher[counted].argmax(-1)])),
    }
    for name, part in parts.items():
        np.testing.assert_allclose(metrics[name], part, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(loss, sum(parts.values()), rtol=1e-3)
    shares = probabilities[counted].mean(0)
    np.testing.assert_allclose(metrics['entropy'], -np.sum(shares * np.log(shares)), rtol=1e-4)


def test_smoothness_trains_the_projector_and_the_data_term_the_prototypes(method, state):
    params, extra = state

    def part(params, name):
        outputs, _ = method.forward(params, extra, tiny.random_batch(), key=KEY, time=tiny.BEGINNING)
        return method.objective(outputs, tiny.random_batch(), time=tiny.BEGINNING)[1][name]

    for name, trained in (('within', 'projector'), ('between', 'projector'), ('cross_entropy', 'prototypes')):
        found = jax.jit(jax.grad(part), static_argnums=1, compiler_options=tiny.QUICK)(params, name)
        moved = {group for group, leaves in found.items() if any(bool((leaf != 0).any()) for leaf in jax.tree.leaves(leaves))}
        assert moved == {trained}, name


def test_the_teacher_follows_the_student_that_a_step_begins_with(state, step):
    params, extra = state
    (_, (after, _)), _ = step(params, extra, tiny.random_batch(), KEY)
    np.testing.assert_allclose(after['teacher'], 0.998 * extra['teacher'] + 0.002 * params['prototypes'], rtol=1e-5)


def test_parts_of_a_batch_are_the_batch(method, state, step):
    batch = tiny.with_void(tiny.random_batch(), below=6)
    parts = {name: array.reshape(2, 4, *array.shape[1:]) for name, array in batch.items()}

    @jax.jit
    def computed(params, extra):
        return gradients.of_parts(method, params, extra, parts, key=KEY, time=tiny.BEGINNING)

    (loss, (extra, _)), found = computed(*state)
    # Parts as one batch have their images in another order, and so each of them has another next one.
    (expected, (expected_extra, _)), expected_gradients = step(*state, jax.tree.map(gradients._merged, parts), KEY)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for one, other in ((found, expected_gradients), (extra, expected_extra)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), one, other)


def test_pixels_have_the_cluster_of_the_interpolated_code(method, state):
    params, extra = state
    image = tiny.random_batch(3)['image']
    found = method.predict(params, extra, image)
    _, code = _code(method, params, extra, image)
    np.testing.assert_allclose(found['logits'], code, rtol=1e-5, atol=1e-6)
    at_pixels = np.asarray(method.to_pixels(jnp.asarray(code), 16, 16))
    cosines = _unit(at_pixels) @ _unit(np.asarray(extra['teacher'])).T
    np.testing.assert_array_equal(found['scores'].argmax(-1), cosines.argmax(-1))
    # Where a code is not mixed with others, at the corner, which is before the centre of the first cell, scores are as trained.
    np.testing.assert_allclose(found['scores'][:, 0, 0], softmax(cosines[:, 0, 0] / 0.1, axis=-1), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'temperature': 0.0}, r'method\.temperature is above 0, found 0\.0'),
        ({'decay': 1.5}, r'method\.decay is 0 to 1, found 1\.5'),
        ({'between': float('nan')}, r'method\.between is a number, such as 0\.5; found nan'),
        ({'width': 1}, r'method\.width is 2 to 4096, found 1'),
        ({'dropout': 1.0}, r'method\.dropout is a share of channels, .*; found 1\.0'),
        ({'num_clusters': 1}, r'method\.num_clusters is 2 to 255, found 1'),
    ],
)
def test_wrong_options_are_told(options, message):
    with pytest.raises(UserError, match=message):
        _made(**options)


def test_a_batch_of_one_image_has_nothing_to_compare_it_with(method):
    with pytest.raises(UserError, match=r'at least 2; found --config\.pipeline\.batch_size=1'):
        method.check((1, 16, 16, 3), 1)


@pytest.fixture(scope='module', params=['smooseg', 'stego'])
def cached(request):
    """Both methods on an encoder, with the state that they begin with."""
    method = methods.made(request.param)
    return method, *method.init(jax.random.key(0), tiny.random_batch()['image'])


def test_what_was_kept_of_whole_images_trains_as_their_pixels_do(cached):
    method, params, extra = cached
    batch = tiny.random_batch()
    encoder = method.encoder(params, extra)
    encoded = encoder.encode(batch['image'])
    assert encoded.dtype == np.float16 and encoder.stride == method.model.output_stride
    np.testing.assert_allclose(encoded, method.features(params, extra, batch['image']), rtol=2e-3, atol=2e-3)
    step = tiny.stepper(method)
    (loss, _), gradient = step(params, extra, batch, KEY)
    (kept, _), same = step(params, extra, {**batch, 'encoded': encoded}, KEY)
    np.testing.assert_allclose(kept, loss, rtol=1e-3)
    tiny.assert_trees_close(same['projector'], gradient['projector'], rtol=2e-2)


def test_each_encoder_has_a_name_of_its_own(cached):
    method, params, extra = cached
    name = method.encoder(params, extra).name
    other = jax.tree.map(lambda leaf: leaf + 0.1, params)
    assert method.encoder({**other, 'network': params['network']}, extra).name == name
    assert method.encoder({**params, 'network': other['network']}, extra).name != name
    enlarged = dataclasses.replace(method, model=method.model.clone(magnify=2))
    assert enlarged.encoder(params, extra).name != name
    assert dataclasses.replace(method, cached=False).encoder(params, extra) is None


def test_crops_that_cut_cells_are_refused_where_they_are_kept(cached):
    method, *_ = cached
    with pytest.raises(
        UserError, match=r'^method\.cached cuts crops between the cells of the encoder, of 4 pixels: .* found 18 x 16$'
    ):
        method.check((8, 18, 16, 3), 1)
    dataclasses.replace(method, cached=False).check((8, 18, 16, 3), 1)


def test_training_batches_have_what_the_encoder_gives(cached, tmp_path):
    """Crops are whole images here, whose pixels say the same."""
    method, *_ = cached
    prepared = builder.prepare(textures.builder(data_dir=str(tmp_path), size=16, train_count=9, val_count=1))
    data = Dataset(prepared, 'train', {'crop_size': 16, 'batch_size': 4}, {}, feeds.mesh_of(1), 0)
    adam = optimizer.optimizer(**common.adam(), steps=1, restarted=())
    task = Task(method, adam, data, data.mesh, 0, InitialWeights('', '', '', (), 'own'), micro_batches=1)
    state = task.initial_state()
    batch = next(task.batches(state, iter))
    features = method.features(state.params, state.extra, jnp.asarray(batch['image']))
    np.testing.assert_allclose(batch['encoded'], features, rtol=2e-3, atol=2e-3)
    plain = dataclasses.replace(task, method=dataclasses.replace(method, cached=False))
    np.testing.assert_array_equal(next(plain.batches(state, iter))['image'], batch['image'])
    assert 'encoded' not in next(plain.batches(state, iter))
