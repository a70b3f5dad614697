"""Opening a run whose files may have been written by another version, or by anybody's hand."""

import json
import shutil

import jax
import pytest

from ar_seg_jax import files
from ar_seg_jax.errors import UserError
from ar_seg_jax.runs import run as runs
from ar_seg_jax.runs import workdir

ROAD = {'name': 'road', 'colour': [1, 2, 3]}


def _altered(directory, **changes):
    """Replaces keys 'part__key' of the saved config; None removes one."""
    path = directory / 'config.json'
    config = json.loads(path.read_text())
    for key, value in changes.items():
        *parts, last = key.split('__')
        target = config
        for part in parts:
            target = target[part]
        target.pop(last) if value is None else target.update({last: value})
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


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([], 'expected a JSON object, found list; restore it from a copy'),
        ({'segmentation': {'clusters': 3}}, 'expected "clusters" with their "mapping" and "classes"; evaluate the step again'),
        (
            {'segmentation': {'clusters': {'mapping': [0], 'classes': [ROAD | {'name': 'a\x1b[2J'}]}}},
            'expected a class with a printable "name" and a "colour" of three times 0 to 255, found .*',
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
