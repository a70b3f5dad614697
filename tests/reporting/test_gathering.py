"""What the page of a run shows whose method has no clusters that mean something across images, and how a failure ends."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.errors import UserError
from ar_seg_jax.reporting import facts, gathering, leaving, page
from ar_seg_jax.runs import workdir
from ar_seg_jax.runs.report import Reporter
from ar_seg_jax.runs.run import Run
from ar_seg_jax.training import records
from ar_seg_jax.training.outputs import Outputs
from ar_seg_jax.training.task import Task
from configs import common
from tests.support import pages, squares

STEP = 7


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return squares.dataset(tmp_path_factory.mktemp('squares'))


@pytest.fixture
def directory(tmp_path):
    """What a run of objects leaves."""
    scores = {'mean_iou': 0.5, 'ari_fg': None}
    results = [{'name': 'By colour, step 7', 'protocol': 'instances:val', 'in_words': 'in some way', 'scores': scores}]
    path = workdir.evaluation(tmp_path, STEP)
    path.parent.mkdir()
    path.write_text(json.dumps({'step': STEP, 'device': '1 x cpu', 'instances': {'results': results}}))
    path = workdir.picture(tmp_path, STEP)
    path.parent.mkdir()
    Image.fromarray(np.full((60, 90, 3), 70, np.uint8)).save(path)
    (tmp_path / 'config.json').write_text(json.dumps({'data': {'name': 'squares'}}))
    (tmp_path / 'data.json').write_text('{}')
    return tmp_path


def run_of(method, data, directory, pictures=6):
    """As far as a page looks at it."""
    config = common.get_config().to_dict()
    config['evaluation']['pictures'] = pictures
    task = object.__new__(Task)
    object.__setattr__(task, 'method', method)
    outputs = Outputs(directory)
    run = object.__new__(Run)
    parts = {'directory': directory, 'config': config, 'task': task, 'outputs': outputs}
    for name, part in (parts | {'reporter': Reporter(outputs, {}, data, 'val', pictures)}).items():
        object.__setattr__(run, name, part)
    return run


def test_methods_that_find_objects_show_scores_and_the_pictures_of_their_run(data, directory):
    state = squares.trained().state
    found = gathering.of_run(run_of(squares.ByColour(), data, directory), state)
    assert not found.clusters and not found.images and 'Numbers of objects mean nothing beyond their image' in found.notes[0]
    assert [(one.width, one.height) for one in found.pictures.values()] == [(90, 60)]
    shown = pages.read(page.of_runs([found]))
    assert pages.cells(shown.one('section', id='run-scores').one('table'))[1] == ['By colour, step 7', '0.500', '-']
    assert shown.one('section', id='run-pictures').one('img').attributes['alt'].endswith('step 7')


def test_a_page_that_cannot_be_made_ends_nothing_and_is_told(data, directory, monkeypatch, caplog, capsys):
    run, state = run_of(squares.ByColour(), data, directory), squares.trained().state
    for error, trace in ((UserError('names are wrong'), False), (RuntimeError('a fault'), True)):
        monkeypatch.setattr(gathering, 'of_run', lambda *_, error=error: (_ for _ in ()).throw(error))
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger='ar_seg_jax'):
            leaving.leave(run, state)
        assert 'No report.html was written' in caplog.text and str(error) in caplog.text
        assert bool(caplog.records[0].exc_info) == trace
    assert not (directory / 'report.html').exists() and capsys.readouterr().out == ''


@pytest.mark.parametrize('pictures', [0, 6])
def test_a_run_that_draws_pictures_leaves_a_page(data, directory, pictures):
    leaving.leave(run_of(squares.ByColour(), data, directory, pictures), squares.trained().state)
    assert (directory / 'report.html').exists() == bool(pictures)


def test_training_time_is_that_of_all_steps(tmp_path):
    logged = [
        {'step': 1, 'kind': 'training', 'images_per_second': 2.0},
        {'step': 1, 'kind': 'evaluation'},
        {'step': 11, 'kind': 'training', 'images_per_second': 20.0},
        {'step': 21, 'kind': 'training', 'images_per_second': 10.0},
    ]
    assert records.seconds(logged, 60) == pytest.approx(60 / 2 + 600 / 20 + 600 / 10)
    assert records.seconds([], 60) == 0
    assert [facts.duration(seconds) for seconds in (12.4, 120.0, 3900.0)] == ['12 s', '2 min 0 s', '1 h 5 min']
