"""The measurement of large sets, on small ones."""

import itertools
import sys

import numpy as np

from benchmarks import input_scale


def test_batches_know_the_numbers_of_their_images(tmp_path):
    batches = input_scale.opened(tmp_path, 300).training(0)
    epochs = [np.concatenate([input_scale.numbers(next(batches)) for _ in range(3)]) for _ in range(2)]
    assert all(sorted(epoch) == list(range(300)) for epoch in epochs) and (epochs[0] != epochs[1]).any()


def test_a_training_that_goes_on_far_into_an_epoch_has_the_bits_of_one_without_interruption(tmp_path):
    input_scale.prepare(tmp_path, 1000)
    for place, images in ((0.9, 1200), (1.9, 2200)):
        whole = input_scale.uninterrupted(tmp_path, 1000, place, before=10_000)
        assert (whole['images'], whole['repeated']) == (images, 0)
        assert input_scale.start(tmp_path, 1000, place, 0.01)['digests'] == whole['digests']
    assert input_scale.start(tmp_path, 1000, 0.9, 0.01)['digests'] != whole['digests']


def test_an_image_twice_in_an_epoch_and_other_bits_are_told(tmp_path, monkeypatch, capsys):
    """As if a training that goes on began the epoch again, and one without interruption had all images twice."""
    monkeypatch.setattr(input_scale.elsewhere, 'call', lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(input_scale.report, 'save', lambda name, found: None)
    monkeypatch.setattr(sys, 'argv', ['x', '--counts', '300', '--files', '5', '--seconds', '0.01', f'--directory={tmp_path}'])
    assert input_scale.main() == 0
    assert '| True | 0 |' in capsys.readouterr().out
    monkeypatch.setattr(input_scale, 'numbers', lambda batch: np.arange(len(batch['image'])))
    others = itertools.count()
    monkeypatch.setattr(input_scale, 'digest', lambda batch: str(next(others)))
    assert input_scale.main() == 1
    assert '| False | ' in capsys.readouterr().out
