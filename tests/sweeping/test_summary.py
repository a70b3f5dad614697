"""From files that runs leave to tables, recomputed by hand."""

import csv
import io
import json
import math

import pytest

from ar_seg_jax.sweeping import collect, places, plan, plot, state, summary, tables
from ar_seg_jax.sweeping.collect import Spread
from ar_seg_jax.sweeping.runner import Outcome, Sweep, scoring, training
from configs import potsdam3

FIRST, SECOND = 'one-to-one:labelled_test:labelled_test', 'many-to-one:labelled_train:labelled_test'
DONE = Outcome('', '')


def _entry(method, protocol, accuracy, mean_iou):
    matching, matched_on, scored_on = protocol.split(':')
    words = {'matching': matching, 'matched_on': matched_on, 'scored_on': scored_on, 'in_words': f'{matching} words'}
    return {'method': method, 'protocol': words, 'accuracy': accuracy, 'mean_iou': mean_iou}


def _leave(sweep, key, step, results, probes=()):
    path = places.run(sweep.directory, key) / 'evaluations' / f'{step:06d}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({'step': step, 'device': 'cpu', 'results': results, 'probes': list(probes)}))


def _finish(sweep, run, accuracy, probes=()):
    results = [_entry('AC, step 7', FIRST, accuracy, 0.25), _entry('AC, step 7', SECOND, 0.9, 0.8)]
    if run.slug == plan.BASE:
        results += [_entry('untrained network', FIRST, 0.1, 0.1), _entry('k-means on pixels', FIRST, 0.3, 0.2)]
    _leave(sweep, run.key, 7, results, probes)
    records = [
        {'step': 2, 'kind': 'training', 'images_per_second': 30.0},
        {'step': 2, 'kind': 'evaluation'},
        {'step': 7, 'kind': 'training', 'images_per_second': 15.0},
    ]
    text = ''.join(json.dumps(record) + '\n' for record in records)
    (places.run(sweep.directory, run.key) / 'metrics.jsonl').write_text(text)
    state.finish(sweep.directory, run, sweep.config)


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path, 'configs/potsdam3.py', {'steps': 7}, potsdam3.get_config().to_dict())


def test_mean_and_sample_standard_deviation():
    assert tuple(collect.spread([1.0, 2.0, 4.0])) == pytest.approx(
        (7 / 3, math.sqrt(((4 / 3) ** 2 + (1 / 3) ** 2 + (5 / 3) ** 2) / 2), 3)
    )
    assert collect.spread([5.0]) == Spread(5.0, None, 1) and collect.spread([]) == Spread(None, None, 0)
    assert (
        summary.percent(Spread(0.6644, 0.0123, 3)) == '66.4 ± 1.2 (n = 3)'
        and summary.percent(Spread(0.5, None, 1)) == '50.0 (n = 1)'
    )
    assert [summary.duration(seconds) for seconds in (5.0, 125.4, 3723.0)] == ['0:05', '2:05', '1:02:03']


def test_a_table_has_our_scores_beside_the_paper_s(sweep):
    table, seeds = tables.load('dropout'), range(3)
    runs = plan.runs(table, sweep.config, seeds)
    accuracies = {'base': (0.6, 0.7, 0.65), 'model.dropout=0.1': (0.5, 0.6)}
    outcomes = {}
    for run in runs:
        if run.seed < len(accuracies.get(run.slug, ())):
            _finish(sweep, run, accuracies[run.slug][run.seed])
            outcomes[run.key] = DONE
    outcomes['model.dropout=0.1', 2] = Outcome('exit status 2, see runs/x/2.log: broken', '')
    lines = collect.lines(table, sweep, seeds, outcomes)
    text = summary.markdown(table, sweep, seeds, lines)
    # 2 steps of 30 images at 30 a second and 5 at 15: 12 s
    assert '| p = 0 | 65.0 ± 5.0 (n = 3) | 25.0 ± 0.0 | 66.4 | 0:12 |' in text
    assert '| p = 0.1 | 55.0 ± 7.1 (n = 2), 1 failed | 25.0 ± 0.0 | 64.7 | 0:12 |' in text
    assert '| p = 0.2 | not yet run | - | 65.1 | - |' in text
    assert '- p = 0.1 failed: seed 2: exit status 2, see runs/x/2.log: broken' in text
    assert '- Device: cpu' in text and 'one-to-one words' in text and '7 steps of 30 images' in text and '`steps=7`' in text
    rows = list(csv.DictReader(io.StringIO(summary.as_csv(table, sweep, lines))))
    assert [float(rows[0][key]) for key in ('accuracy', 'accuracy_std', 'paper', 'n', 'seconds')] == pytest.approx(
        [65, 5, 66.4, 3, 12]
    )
    assert rows[1]['failed'] == '1' and rows[2]['accuracy'] == '' and rows[2]['waiting'] == '3'
    assert plot.png(table, lines, 'potsdam3').startswith(b'\x89PNG')


def test_the_comparison_takes_its_rows_from_where_they_are(sweep):
    table = tables.load('comparison')
    (run,) = plan.runs(table, sweep.config, [0])
    _finish(sweep, run, 0.6)
    _leave(sweep, run.key, 0, [_entry('AC, step 0', FIRST, 0.35, 0.12)])
    lines = collect.lines(table, sweep, [0], {run.key: DONE})
    found = {line.row.name: [score.accuracy for score in line.scores['clustering']] for line in lines}
    assert found['AC'] == [0.6] and found['random CNN (untrained)'] == [0.35] and found['k-means on pixels'] == [0.3]
    text = summary.markdown(table, sweep, [0], lines)
    assert '| IIC 2019 | not implemented | - | 65.1 | - |' in text
    assert '| k-means on SIFT | failed | - | 38.2 | - |' in text and 'has no k-means on SIFT score' in text


def test_an_untrained_network_that_could_not_be_scored_fails_its_own_row_only(sweep):
    table = tables.load('models')
    run = plan.runs(table, sweep.config, [0])[0]
    _finish(sweep, run, 0.6)
    lines = collect.lines(table, sweep, [0], {run.key: Outcome('', 'no checkpoint')})
    assert lines[0].failures == ['seed 0: no checkpoint'] and not lines[0].scores['clustering']
    assert lines[2].row.name.startswith('F2') and lines[2].scores['clustering'][0].accuracy == 0.6 and not lines[2].failures


def test_probes_have_columns_of_their_own(sweep):
    table = tables.load('objectives')
    probe = {'trained_on': 'a', 'scored_on': 'b', 'mean_iou': 0.1}
    probes = [probe | {'probe': 'linear', 'accuracy': 0.41}, probe | {'probe': 'non-linear', 'accuracy': 0.82}]
    run = plan.runs(table, sweep.config, [0])[0]
    _finish(sweep, run, 0.6)
    assert state.lacking(state.evaluation(sweep.directory, run.key), run) == ['linear', 'non-linear']
    assert not state.finished(sweep.directory, run, sweep.config)
    _finish(sweep, run, 0.6, probes)
    assert state.finished(sweep.directory, run, sweep.config)
    text = summary.markdown(table, sweep, [0], collect.lines(table, sweep, [0], {run.key: DONE}))
    cells = '60.0 (n = 1) | 25.0 | 66.4 | 41.0 (n = 1) | 10.0 | 41.4 | 82.0 (n = 1) | 10.0 | 81.8'
    assert f'| AC | {cells} | 0:12 |' in text
    # another table does not want the probes, and a new evaluation would lose them
    (other,) = plan.runs(tables.load('comparison'), sweep.config, [0])
    assert state.keeping(state.evaluation(sweep.directory, run.key), other).probes == ('linear', 'non-linear')


def test_a_longer_training_or_another_config_is_not_finished(sweep):
    run = plan.runs(tables.load('dropout'), sweep.config, [0])[0]
    _finish(sweep, run, 0.6)
    assert state.finished(sweep.directory, run, sweep.config)
    evaluation = sweep.config['evaluation']
    assert state.finished(sweep.directory, run, sweep.config | {'evaluation': evaluation | {'pictures': 1}})
    assert not state.finished(sweep.directory, run, sweep.config | {'evaluation': evaluation | {'crop_size': 128}})
    assert not state.finished(sweep.directory, run, sweep.config | {'epochs': 20.0})


def test_commands_are_those_that_a_person_would_type(sweep):
    base, dropout = plan.runs(tables.load('dropout'), sweep.config, [4])[:2]
    begin = ['-m', 'ar_seg_jax.main', '--config', 'configs/potsdam3.py', '--config.steps=7']
    without = '--config.evaluation.probes=()'
    assert training(sweep, base)[1:] == [*begin, without, '--config.seed=4', '--workdir', str(sweep.directory / 'runs/base/4')]
    assert training(sweep, dropout)[1:] == [
        *begin,
        '--config.model.dropout=0.1',
        without,
        '--config.evaluation.baselines=False',
        '--config.evaluation.pictures=0',
        '--config.seed=4',
        '--workdir',
        str(sweep.directory / 'runs/model.dropout=0.1/4'),
    ]
    (probed,) = (run for run in plan.runs(tables.load('objectives'), sweep.config, [0]) if run.slug == 'base')
    assert without not in training(sweep, probed)  # the config's own are what the table shows
    assert scoring(sweep, base)[-2:] == ['--step', '0']
