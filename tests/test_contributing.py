"""The examples of docs/contributing.md, as they stand there, run as parts of the program."""

import re

import numpy as np

import ar_seg_jax
from ar_seg_jax import build
from ar_seg_jax.runs import assembly
from ar_seg_jax.runs import run as runs
from tests.support import examples
from tests.support.commands import ROOT


def test_the_examples_are_as_short_as_the_readme_says():
    most = int(re.search(r'each in less than (\d+)\s+lines', (ROOT / 'README.md').read_text())[1])
    longest = max(len(code.splitlines()) for code in examples.sources().values())
    assert most - 10 <= longest < most


def test_the_examples_train_go_on_and_predict(tmp_path, monkeypatch):
    modules = examples.modules()
    monkeypatch.setitem(build.METHODS, 'mirror', modules['ar_seg_jax/methods/mirror.py'].build)
    monkeypatch.setitem(build.MODELS, 'plain', modules['ar_seg_jax/models/plain.py'].Plain)
    monkeypatch.setitem(assembly.DATASETS, 'stripes', modules['ar_seg_jax/data/stripes.py'].builder)
    config = modules['configs/mirror.py'].get_config().to_dict()
    config['data'] = {'name': 'stripes', 'data_dir': str(tmp_path / 'data'), 'train_split': 'train', 'size': 48, 'count': 16}
    config['method']['num_clusters'] = 2
    config['pipeline'] |= {'crop_size': 32, 'batch_size': 8}
    config['evaluation'] |= {'batch_size': 8, 'pictures': 0}
    config['evaluators'] = {'segmentation': {'protocols': ('one-to-one',), 'baselines': False}}
    config |= {'steps': 4, 'evaluate_every': 0, 'checkpoint_every': 2, 'compilation_cache': 'none'}

    def trained(steps, name):
        run = runs.open_run({**config, 'steps': steps}, tmp_path / name, training=True)
        state, done = runs.train(run)
        run.lock.close()
        assert done and int(state.step) == steps
        run.reporter.report(state.model)
        return state

    whole = trained(4, 'whole')
    trained(2, 'halves')
    halves = trained(4, 'halves')
    for one, two in zip(*(np.asarray(each.extra['centroids']) for each in (whole, halves)), strict=True):
        np.testing.assert_array_equal(one, two)

    network = ar_seg_jax.load(tmp_path / 'halves')
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 20:] = 200
    labels = network.segment(image)
    assert labels.shape == (20, 40) and set(np.unique(labels)) == {0, 1}
    assert [entry.name for entry in network.classes] == ['stripe 0', 'stripe 1']
