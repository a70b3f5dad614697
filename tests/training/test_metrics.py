import json

import pytest

from ar_seg_jax.training import metrics

SCALARS = {
    'loss': -0.5,
    'mutual_information': 0.5,
    'mutual_information_bound': 1.0986,
    'entropy': 1.0,
    'conditional_entropy': 0.5,
    'images_per_second': 12.3,
    'data_wait_share': 0.02,
    'seconds_left': 125.0,
}


@pytest.mark.parametrize(('step', 'period', 'due'), [(10, 5, True), (11, 5, False), (10, 0, False), (5, 10, False)])
def test_every(step, period, due):
    assert metrics.every(step, period) is due


def test_the_line_of_a_step_says_loss_bound_speed_and_time_left():
    line = metrics.describe(10, 100, SCALARS)
    assert 'step 10/100  loss -0.5000  MI 0.5000 of at most 1.0986 nats' in line
    assert '12.3 images/s  waiting for data 2%  2:05 left' in line


def test_collapse_is_told_in_words_and_only_then():
    assert metrics.collapse_warning(SCALARS) is None
    assert 'Clusters have collapsed' in metrics.collapse_warning(SCALARS | {'entropy': 0.01})
    assert metrics.collapse_warning({'loss': 1.0}) is None  # a method without clusters


def test_scalars_are_json_lines_and_tensorboard_events(tmp_path):
    writer = metrics.MetricWriter(tmp_path)
    writer.write(1, {'loss': -0.1})
    writer.write(2, {'loss': -0.2})
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert lines == [{'step': 1, 'loss': -0.1}, {'step': 2, 'loss': -0.2}]
    assert list((tmp_path / 'tensorboard').glob('events*'))
