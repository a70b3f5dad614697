import io
import json
import logging
import math
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Remark
from ar_seg_jax.objectives import mutual_information
from ar_seg_jax.training import loop, metrics, records
from ar_seg_jax.training.journal import Journal
from ar_seg_jax.training.outputs import Outputs
from tests.support import tiny

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


@pytest.mark.parametrize(
    ('period', 'due'),
    [(5, [5, 10, 12]), (0, [12]), (20, [12])],
)
def test_a_schedule_has_the_multiples_of_its_periods_and_the_last_step(period, due):
    schedule = loop.Schedule(12, log_every=period, evaluate_every=period, checkpoint_every=period)
    steps = range(13)
    assert [step for step in steps if schedule.evaluates(step)] == due
    assert [step for step in steps if schedule.saves(step)] == due
    assert [step for step in steps if step and schedule.logs(step)] == [1, *due]


def test_the_line_of_a_step_says_loss_bound_speed_and_time_left():
    line = metrics.line(10, 100, SCALARS, mutual_information.in_words(SCALARS).words)
    assert 'step 10/100  loss -0.5000  MI 0.5000 of at most 1.0986 nats' in line
    assert '12.3 images/s  waiting for data 2%  2:05 left' in line
    rest = '12.3 images/s  waiting for data 2%  2:05 left'
    assert metrics.line(10, 100, SCALARS | {'skipped_steps': 0}, '') == f'step 10/100  loss -0.5000  {rest}'
    assert metrics.line(10, 100, SCALARS | {'skipped_steps': 2}, '') == f'step 10/100  loss -0.5000  2 steps not applied  {rest}'


def test_collapse_is_told_in_words_and_only_then():
    collapsed = SCALARS | {'entropy': 0.01}
    assert tiny.ac().describe(SCALARS).warning == ''
    assert 'Clusters have collapsed: their entropy is 0.0100 of 1.0986 nats' in tiny.ac().describe(collapsed).warning
    assert tiny.arl().describe(collapsed).warning == ''  # a method without clusters


def test_a_journal_has_the_words_of_the_method_and_warns_after_the_first_step(tmp_path, caplog):
    caplog.set_level(logging.INFO, 'ar_seg_jax')

    def describe(values):
        return Remark(f'about {values["loss"]}', 'what is wrong' if values['loss'] > 4 else '')

    with Journal(Outputs(tmp_path), 0, 9, 6, describe, active=True) as journal:
        for step, loss in enumerate((5.0, 4.0, 6.0), 1):
            journal.training(step, {'loss': jnp.float32(loss)}, recorded=step != 2)
        journal.evaluation(3, lambda: metrics.Evaluation({'accuracy': 0.5}))
    told = [(record.levelname, record.message.partition('  images')[0]) for record in caplog.records]
    assert [level for level, _ in told] == ['INFO', 'INFO', 'INFO', 'WARNING']
    assert told[2][1].startswith('step 3/9  loss 6.0000  about 6.0  ') and told[3][1] == 'what is wrong'
    assert [(line['step'], line['kind'], line.get('loss')) for line in _lines(tmp_path)] == [
        (1, 'training', 5.0),
        (3, 'training', 6.0),
        (3, 'evaluation', None),
    ]


def _lines(directory):
    return [json.loads(line) for line in (directory / 'metrics.jsonl').read_text().splitlines()]


def test_scalars_are_json_lines_and_tensorboard_events_and_pictures_events(tmp_path):
    writer = metrics.MetricWriter(Outputs(tmp_path))
    writer.training(1, {'loss': -0.1})
    writer.training(2, {'loss': math.nan})
    writer.evaluation(2, metrics.Evaluation({'accuracy': 0.5}, np.zeros((4, 6, 3), np.uint8)))
    assert _lines(tmp_path) == [
        {'step': 1, 'kind': 'training', 'loss': -0.1},
        {'step': 2, 'kind': 'training', 'loss': None},
        {'step': 2, 'kind': 'evaluation', 'accuracy': 0.5},
    ]
    (events,) = (tmp_path / 'tensorboard').glob('events*')
    content = events.read_bytes()
    assert b'loss' in content and b'accuracy' in content and b'segmentation' in content and b'PNG' in content


def test_what_was_written_after_the_last_save_is_dropped(tmp_path):
    writer = metrics.MetricWriter(Outputs(tmp_path))
    for step in (1, 2, 3):
        writer.training(step, {'loss': -float(step)})
    writer.evaluation(2, metrics.Evaluation({'accuracy': 0.5}))
    with (tmp_path / 'metrics.jsonl').open('a') as file:
        file.write('{"step": 4, "ki')  # killed while it wrote
    writer = metrics.MetricWriter(Outputs(tmp_path), start=2)
    assert writer.evaluated
    writer.training(3, {'loss': -30.0})
    assert [(record['step'], record.get('loss')) for record in _lines(tmp_path)] == [(1, -1), (2, -2), (2, None), (3, -30)]
    assert not metrics.MetricWriter(Outputs(tmp_path), start=1).evaluated


def test_records_are_read_up_to_a_last_line_that_is_half_written(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    assert records.read(path) == []
    path.write_text('{"step": 1, "kind": "training", "loss": null}\n{"step": 2, "kind": "evalu')
    assert records.read(path) == [{'step': 1, 'kind': 'training', 'loss': None}]


@pytest.mark.parametrize(
    'line', [b'{"step": 2, "ki', b'', b'\xff\xfe\xfd', b'7', b'{"step": "2", "kind": "training"}', b'{"step": 2}', b'[' * 100_000]
)
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    good = b'{"step": 1, "kind": "training"}\n'
    (tmp_path / 'metrics.jsonl').write_bytes(good + line + b'\n' + good)
    with pytest.raises(UserError, match=r'metrics\.jsonl, line 2: (not JSON|expected) .*; remove the line$'):
        records.read(tmp_path / 'metrics.jsonl')


def test_only_one_process_writes(tmp_path):
    writer = metrics.MetricWriter(Outputs(tmp_path), active=False)
    writer.training(1, {'loss': -0.1})
    writer.evaluation(1, metrics.Evaluation({'accuracy': 0.5}))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def passes(monkeypatch):
    """Lets time pass, some seconds."""
    now = [100.0]
    monkeypatch.setattr(metrics.time, 'perf_counter', lambda: now[0])

    def passes(seconds):
        now[0] += seconds

    return passes


def test_speed_leaves_out_pauses_and_counts_waiting(passes):
    progress = metrics.Progress(start=0, steps=10, batch_size=6)
    progress.rates(0)
    with progress.waiting():
        passes(1)
    passes(2)
    with progress.pause():
        passes(50)
    passes(1)
    assert progress.rates(2) == {'images_per_second': 3.0, 'data_wait_share': 0.25, 'seconds_left': 16.0}


@pytest.mark.parametrize(('start', 'left'), [(0, '1:35'), (40, '0:55')])
def test_no_time_left_is_told_before_a_step_without_compilation(tmp_path, caplog, passes, start, left):
    caplog.set_level(logging.INFO, 'ar_seg_jax')
    with Journal(Outputs(tmp_path), start, 100, 6, lambda _: Remark(), active=True) as journal:
        for step, seconds in ((start + 1, 60), (start + 5, 4)):
            passes(seconds)
            journal.training(step, {'loss': jnp.float32(1)}, recorded=True)
    first, second = (record.message for record in caplog.records)
    assert first.endswith('0.1 images/s  waiting for data 0%')
    assert second.endswith(f'6.0 images/s  waiting for data 0%  {left} left')
    assert [line['seconds_left'] for line in _lines(tmp_path)] == [None, 95 - start]


def test_the_bar_of_a_terminal_begins_after_the_first_step_and_knows_no_time_left_then(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, 'stderr', terminal)
    progress = metrics.Progress(start=3, steps=10, batch_size=6)
    assert terminal.getvalue() == ''
    progress.step()
    assert '4/10' in terminal.getvalue() and '<?' in terminal.getvalue()
    progress.close()
