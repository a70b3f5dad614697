"""Learning from labels: the loss against scikit-learn's, what has no part in it, and what data it wants."""

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from sklearn.metrics import log_loss

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.runs import run as runs
from configs import supervised_folder_small, supervised_textures
from tests.support import methods, tiny


@pytest.fixture(scope='module')
def method():
    return methods.made('supervised')


@pytest.fixture(scope='module')
def trained(method):
    """Its state and a compiled (batch) -> (loss, metrics)."""
    params, extra = jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), tiny.random_batch()['image'])

    def loss(batch):
        outputs, _ = method.forward(params, extra, batch, key=jax.random.key(1), time=tiny.BEGINNING)
        return method.objective(outputs, batch, time=tiny.BEGINNING)

    return params, extra, jax.jit(loss, compiler_options=tiny.QUICK)


def _labelled(batch, seed=0):
    return {**batch, 'label': jnp.asarray(np.random.default_rng(seed).choice([0, 1, 2, VOID], batch['label'].shape), jnp.uint8)}


def test_the_loss_is_the_cross_entropy_of_the_labelled_pixels(method, trained):
    """Of the network in training, where nothing is changed: scores are put where the labels are, and scikit-learn is asked."""
    params, extra, loss = trained
    batch = _labelled(tiny.random_batch())
    found, metrics = loss(batch)
    key = jax.random.split(jax.random.fold_in(jax.random.key(1), 0))[0]
    changed, move = method.change(batch['image'] / 255.0, key)
    assert 0 < int(move.flipped.sum()) < len(move.flipped), 'the test wants images that are mirrored and some that are not'
    maps, _ = method.model.apply({'params': params, **extra}, changed, train=True, mutable=['batch_stats'])
    logits = np.array(method.to_pixels(maps['decoder'], *batch['image'].shape[1:3]))
    for image, flipped in enumerate(np.asarray(move.flipped)):
        logits[image] = logits[image][:, ::-1] if flipped else logits[image]
    label = np.asarray(batch['label'])
    scores = np.asarray(jax.nn.softmax(logits))[label != VOID]
    np.testing.assert_allclose(found, log_loss(label[label != VOID], scores, labels=[0, 1, 2]), rtol=1e-4)
    np.testing.assert_allclose(metrics['right'], np.mean(scores.argmax(-1) == label[label != VOID]), rtol=1e-6)


def test_pixels_that_do_not_count_have_no_part(trained):
    _, _, loss = trained
    batch = _labelled(tiny.random_batch())
    mask = np.random.default_rng(1).random(batch['label'].shape) < 0.5
    hidden = {**batch, 'mask': jnp.asarray(mask)}
    other = {**hidden, 'label': jnp.where(mask, batch['label'], (batch['label'] + 1) % 3)}
    assert loss(hidden)[0] == loss(other)[0] != loss(batch)[0]
    nothing = {**batch, 'label': jnp.full_like(batch['label'], VOID)}
    assert loss(nothing)[0] == 0


def test_data_of_other_classes_is_refused_before_it_is_prepared(tmp_path):
    config = supervised_textures.get_config().to_dict()
    config['data']['data_dir'] = str(tmp_path / 'prepared')
    config['method']['num_clusters'] = 4
    config['evaluation']['batch_size'] = 16
    with pytest.raises(UserError, match=r'learns 4 classes, but the data has 3; set --config\.method\.num_clusters=3$'):
        runs.open_run(config, tmp_path / 'run', training=True)


def test_data_without_labels_is_refused(tmp_path):
    PIL.Image.new('RGB', (20, 20)).save(tmp_path / 'image.png')
    config = supervised_folder_small.get_config().to_dict()
    config['data'] |= {'data_dir': str(tmp_path / 'prepared'), 'root': str(tmp_path)}
    config['pipeline']['batch_size'] = config['evaluation']['batch_size'] = 8
    with pytest.raises(UserError, match='learns from labels, and the data has none'):
        runs.open_run(config, tmp_path / 'run', training=True)
