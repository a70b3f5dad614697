"""Opening a run whose files may have been written by another version, or by anybody's hand."""

import json
import os
import re
import shutil
import signal
import time

import jax
import numpy as np
import PIL.Image
import pytest

from ar_seg_jax import files
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import baselines, scoring
from ar_seg_jax.evaluation.segmentation import Segmentation
from ar_seg_jax.prediction import network
from ar_seg_jax.runs import assembly, workdir
from ar_seg_jax.runs import run as runs
from ar_seg_jax.runs.report import Reporter
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.outputs import Outputs
from ar_seg_jax.training.state import TrainState
from ar_seg_jax.training.task import Task
from configs import folder_small, mixture_street, textures
from tests.support import commands

ROAD = {'name': 'road', 'colour': [1, 2, 3]}


def _place(config, key):
    """Where a config has the key 'part__key', and the key there."""
    *parts, last = key.split('__')
    for part in parts:
        config = config[part]
    return config, last


def _altered(directory, **changes):
    """Replaces keys 'part__key' of the saved config; None removes one."""
    path = directory / 'config.json'
    config = json.loads(path.read_text())
    for key, value in changes.items():
        place, last = _place(config, key)
        place.pop(last) if value is None else place.update({last: value})
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'keep_every': None}, r"config\.json: lacks 'keep_every'"),
        ({'evaluation': 5}, r'config\.json: evaluation: expected keys with values, found 5'),
        ({'data': []}, r'config\.json: data: expected keys with values, found \[\]'),
        ({'method__orderings': 3}, r'config\.method\.orderings: expected a text, found 3'),
        ({'method__candidates': None}, r"config\.method of 'ac' lacks candidates"),
        ({'model__size': 3}, r"config\.model of 'autoregressive': there is no 'size', the names are attention, .*, zigzag"),
        ({'evaluators__probes__steps': 'all'}, r"config\.evaluators\.probes\.steps: expected a whole number, found 'all'"),
        ({'evaluators': {'probe': {}}}, r"config\.evaluators: there is no 'probe', the names are .*; did you mean 'probes'\?"),
        ({'seed': 'z'}, r"config\.json: seed: expected a whole number, found 'z'"),
        ({'model': None}, r"config\.json: lacks 'model'"),
    ],
)
def test_what_is_wrong_in_the_config_of_a_run_is_named(trained, tmp_path, monkeypatch, changes, message):
    shutil.copytree(trained.directory, tmp_path / 'run')
    _altered(tmp_path / 'run', pipeline__batch_size=8, evaluation__batch_size=8)  # there are 8 devices here
    _altered(tmp_path / 'run', **changes)
    monkeypatch.setattr(jax.config, 'update', lambda *_: None)  # no compilation cache in the process of the tests
    with pytest.raises(UserError, match=rf'{message}$'):
        runs.open_run(workdir.load_config(tmp_path / 'run'), tmp_path / 'run', training=False)


def _refused(trained, tmp_path, monkeypatch, changes, message):
    """A training with other values of keys 'part__key' is refused before data is prepared, and leaves nothing."""
    monkeypatch.setattr(assembly, 'prepare', lambda *_: pytest.fail('data is prepared'))
    config = textures.get_config().to_dict()
    config['data']['data_dir'] = str(trained.data_dir)
    config['evaluation']['batch_size'] = 8  # there are 8 devices here
    for key, value in changes.items():
        place, last = _place(config, key)
        place[last] = value
    with pytest.raises(UserError) as raised:
        runs.open_run(config, tmp_path / 'run', training=True)
    assert re.fullmatch(message, str(raised.value)), raised.value  # without the notes that JAX adds
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'initial_weights__file': None}, r'config\.initial_weights\.file: expected a text, found None'),
        ({'initial_weights__fil': 'a.npz'}, r"config\.initial_weights: there is no 'fil', .*; did you mean 'file'\?"),
        ({'initial_weights': {'file': 'a.npz'}}, r'config\.initial_weights lacks of, into, without, layout'),
        ({'initial_weights': None}, r'config: initial_weights: expected keys with values, found None'),
        ({'frozen': 'stem'}, r"config: frozen: expected a list, found 'stem'; a list of one is \('stem',\)"),
        ({'frozen': ('stem', 3)}, r'config: frozen\[1\]: expected a text, found 3'),
        ({'frozen': None}, r'config: frozen: expected a list, found None'),
        ({'seed': 'z'}, r"config: seed: expected a whole number, found 'z'"),
        ({'evaluators__probes': None}, r'config: evaluators\.probes: expected keys with values, found None'),
    ],
)
def test_a_wrong_type_in_a_new_config_is_named_before_anything_is_there(trained, tmp_path, monkeypatch, changes, message):
    _refused(trained, tmp_path, monkeypatch, changes, message)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'evaluators': {'probe': {}}}, r"config\.evaluators: there is no 'probe', .*; did you mean 'probes'\?"),
        ({'evaluators__probes__step': 3}, r"config\.evaluators\.probes of 'probes': there is no 'step', .*"),
        ({'evaluators__probes__names': 'linear'}, r"config\.evaluators\.probes\.names: expected a list, found 'linear'; .*"),
        ({'evaluators__segmentation': {'baselines': True}}, r'config\.evaluators\.segmentation of .* lacks protocols'),
        ({'initial_weights__file': '/nowhere/a.npz'}, r'/nowhere/a\.npz: no such file or directory; see .*weights\.file'),
        ({'initial_weights__file': __file__}, r'.*test_run\.py: weights come from a \.npz or \.safetensors file, or .*'),
        ({'frozen': ('stem', 'stm')}, r'no parameters are called stm; on top there are block_0, block_1, decoder, stem'),
        ({'optimizer__rates': {'network': 0.1}}, r'no parameters are called network; on top there are block_0, .*'),
        ({'optimizer__rates': {'stem': '0.1'}}, r"config\.optimizer: rates\.stem: expected a number, found '0\.1'"),
        ({'optimizer__rates': {'stem': -0.1}}, r'config\.optimizer\.rates\.stem is a factor of at least 0, found -0\.1'),
        ({'optimizer__rates': {'stem': float('nan')}}, r'config\.optimizer\.rates\.stem is a factor of at least 0, found nan'),
        ({'epochs': 2.0}, r'set one of --config\.steps and --config\.epochs and leave the other 0; found 300 and 2\.0'),
        ({'epochs': -1.0}, r'set one of --config\.steps and --config\.epochs and leave the other 0; found 300 and -1\.0'),
        ({'seed': 99999999999999999999}, r'--config\.seed is at least 0 and at most 4294967295, found 99999999999999999999'),
        ({'seed': -1}, r'--config\.seed is at least 0 and at most 4294967295, found -1'),
        ({'pipeline__workers': -1}, r'--config\.pipeline\.workers is at least 0 and at most 1000, found -1'),
        ({'evaluation__pictures': -1}, r'--config\.evaluation\.pictures is at least 0, found -1'),
        ({'data__train_count': 0}, r'data\.size, data\.train_count and .* are at least 1, .*; found \d+, 0, \d+ and 0'),
        ({'data__data_dir': '~none/x'}, r'~none/x: there is no home directory \(.*\); give a full path, or set HOME'),
        ({'profile': '9-3'}, r"--config\.profile is a step or a range of steps such as '10-12', found '9-3'"),
    ],
)
def test_a_wrong_value_in_a_new_config_is_told_before_anything_is_there(trained, tmp_path, monkeypatch, changes, message):
    _refused(trained, tmp_path, monkeypatch, changes, message)


@pytest.mark.parametrize(('gone', 'rows'), [(True, []), (False, ['before training'])])
def test_the_network_before_training_is_scored_if_its_weights_are_still_there(trained, tmp_path, monkeypatch, caplog, gone, rows):
    shutil.copytree(trained.directory, tmp_path / 'run')
    file = tmp_path / 'a.npz'
    _altered(tmp_path / 'run', pipeline__batch_size=8, evaluation__batch_size=8, initial_weights__file=str(file))
    monkeypatch.setattr(jax.config, 'update', lambda *_: None)
    run = runs.open_run(workdir.load_config(tmp_path / 'run'), tmp_path / 'run', training=False)
    if not gone:
        np.savez(file, **{'stem.conv.bias': np.full(run.task.shapes().params['stem']['conv']['bias'].shape, 7.0)})
    scored = []
    monkeypatch.setattr(scoring, 'evaluate', lambda *_: [])
    monkeypatch.setattr(Segmentation, '_evaluated', lambda self, state, *_: (scored.append(state) or [], None))
    for name in ('pixel_centroids', 'sift_centroids'):
        monkeypatch.setattr(baselines, name, lambda *_: 'k-means')
    found = run.reporter.evaluators['segmentation']._of_baselines(run.task.data.evaluation)
    assert list(found) == [*rows, 'k-means on pixels', 'k-means on SIFT']
    if gone:
        (record,) = caplog.records
        assert record.message == (
            f'The network before training is not scored: {file}: no such file or directory; see --config.initial_weights.file'
        )
    else:
        assert (np.asarray(scored[0].params['stem']['conv']['bias']) == 7).all()


def test_a_training_that_goes_on_needs_its_initial_weights_no_more(trained, tmp_path, monkeypatch):
    directory = tmp_path / 'run'
    shutil.copytree(trained.directory, directory)
    changes = {'pipeline__batch_size': 8, 'evaluation__batch_size': 8, 'initial_weights__file': '/nowhere/a.npz'}
    _altered(directory, **changes)
    config = workdir.load_config(directory)
    monkeypatch.setattr(jax.config, 'update', lambda *_: None)
    run = runs.open_run(config, directory, training=True)
    assert run.checkpoints.latest == 6
    run.lock.close()
    shutil.rmtree(directory / 'checkpoints')
    with pytest.raises(UserError, match=r'^/nowhere/a\.npz: no such file or directory'):
        runs.open_run(config, directory, training=True)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([], 'expected a JSON object, found list; restore it from a copy'),
        ({'segmentation': {'clusters': 3}}, 'expected "clusters" with their "mapping" and "classes"; evaluate the step again'),
        (
            {'segmentation': {'clusters': {'mapping': [0], 'classes': [ROAD | {'name': 'a\x1b[2J'}]}}},
            'expected a class with a printable "name" and a "colour" of three times 0 to 255, .*found .*',
        ),
        (
            {'segmentation': {'clusters': {'mapping': [1], 'classes': [ROAD]}}},
            r'expected for each cluster one of 1 classes by its number, or -1, found \[1\]',
        ),
    ],
)
def test_scores_that_anybody_may_have_written_are_checked(tmp_path, content, message):
    files.write_json(workdir.evaluation(tmp_path, 3), content)
    with pytest.raises(UserError, match=rf'000003\.json: {message}$'):
        workdir.load_cluster_classes(tmp_path, 3)


def _run(directory, report, lock=None):
    """A run that can only report."""
    reporter = object.__new__(Reporter)
    object.__setattr__(reporter, 'report', report)
    return runs.Run(directory, {}, object.__new__(Task), reporter, object.__new__(Checkpoints), Outputs(directory), lock)


@pytest.mark.parametrize('later', [False, True])
def test_a_signal_during_the_final_scores_or_what_follows_ends_them(tmp_path, caplog, later):
    def stopped(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    state = TrainState(7, {}, {}, (), None, 0, 0).model
    before = signal.getsignal(signal.SIGTERM)
    report, afterwards = (lambda _: None, stopped) if later else (stopped, lambda: None)
    assert not runs.report(_run(tmp_path, report), state, afterwards)
    assert caplog.messages == ['Stopped while step 7, which is saved, was scored; the same command scores it again']
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize('again', [False, True])
def test_a_directory_that_was_removed_meanwhile_is_an_error(tmp_path, again):
    def report(state):
        shutil.rmtree(tmp_path / 'run')
        if again:
            workdir.claim(tmp_path / 'run').close()

    run = _run(tmp_path / 'run', report, workdir.claim(tmp_path / 'run'))
    with run.lock, pytest.raises(UserError, match=r'run was removed or replaced while the run was under way'):
        runs.report(run, TrainState(7, {}, {}, (), None, 0, 0).model)


def test_a_mixture_of_crops_of_images_stops_and_goes_on_to_the_same_bits(tmp_path):
    """It has no parameters, and learns from where in their images crops are."""
    (tmp_path / 'images').mkdir()
    image = np.random.default_rng(0).integers(0, 200, (12, 24, 40, 3), np.uint8)
    image[:, 12:, :, 0] += 55
    for number, pixels in enumerate(image):
        PIL.Image.fromarray(pixels).save(tmp_path / 'images' / f'{number}.png')

    def trained(name, steps):
        config = mixture_street.get_config()
        config.update(steps=steps, evaluate_every=0, compilation_cache='none', evaluators={})
        config.data.update(root=str(tmp_path / 'images'), data_dir=str(tmp_path / 'data'), rescale=1.0)
        config.pipeline.update(crop_size=16, batch_size=8)  # there are 8 devices here
        config.evaluation.update(batch_size=8, pictures=0)
        if not (tmp_path / name).exists():  # a start of another config that saved nothing binds to nothing
            workdir.save_config(tmp_path / name, config.to_dict() | {'seed': 7})
        opened = runs.open_run(config.to_dict(), tmp_path / name, training=True)
        with opened.lock:
            state, ended = runs.train(opened)
        assert ended and int(state.step) == steps and int(state.skipped) == 0
        with pytest.raises(UserError, match='seed is 0 in that run, 7 in this one'):
            runs.open_run(config.to_dict() | {'seed': 7}, tmp_path / name, training=True)
        return state

    state = trained('whole', 4)
    assert float(state.extra['layout'].weights.sum()) >= 12 * 16 * 16  # crops of all images at least
    # Were crops taken for whole images, there would be as much in the corners as elsewhere.
    weights = np.asarray(state.extra['layout'].weights)
    assert weights[0, 0] < weights[8, 8] / 2
    for steps in (2, 4):
        trained('halves', steps)
    for one, other in zip(*(commands.leaves_of(tmp_path / name, 4) for name in ('whole', 'halves')), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_network_sees_images_as_those_that_it_began_with_were(tmp_path):
    """Also where data has changed since, and wherever its run is read."""
    (tmp_path / 'images').mkdir()
    rng = np.random.default_rng(0)
    pixels = [rng.integers(20 * number, 90 + 30 * number, (16, 16, 3), np.uint8) for number in range(5)]
    for number, image in enumerate(pixels):
        PIL.Image.fromarray(image).save(tmp_path / 'images' / f'{number}.png')
    config = folder_small.get_config()
    config.compilation_cache = 'none'
    config.data.update(root=str(tmp_path / 'images'), data_dir=str(tmp_path / 'data'), rescale=1.0, block_size=16)
    config.pipeline.update(crop_size=16, batch_size=8)
    config.evaluation.update(split='train', batch_size=8, pictures=0)
    config.model.update(normalise='data', blocks=1)

    def opened(**options):
        run = runs.open_run(config.to_dict(), tmp_path / 'run', **options)
        if run.lock:
            run.lock.close()
        return run

    run = opened(training=True)
    mean, deviation = run.task.method.model.normalisation
    together = np.stack(pixels).reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, together.mean(0), rtol=1e-9)
    np.testing.assert_allclose(deviation, together.std(0), rtol=1e-9)
    assert opened(training=False).task.method == run.task.method
    run.checkpoints.save(run.task.initial_state())
    run.checkpoints.close()
    PIL.Image.fromarray(255 - pixels[0]).save(tmp_path / 'images' / '0.png')
    assert opened(training=True, changed_data=True).task.method == run.task.method
    assert network.load(tmp_path / 'run').method == run.task.method
    shutil.rmtree(tmp_path / 'run')
    assert opened(training=True).task.method != run.task.method
