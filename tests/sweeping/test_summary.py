"""From files that runs leave to tables, recomputed by hand."""

import csv
import dataclasses
import io
import json
import math
import statistics

import pytest

from ar_seg_jax import files
from ar_seg_jax.errors import UserError
from ar_seg_jax.runs import workdir
from ar_seg_jax.sweeping import collect, drawing, plan, state, summary, tables
from ar_seg_jax.sweeping.collect import Spread
from ar_seg_jax.sweeping.runner import Outcome, scoring_command, training_command
from ar_seg_jax.sweeping.tables import Row, Table
from configs import arl_potsdam3, ast_objects_small, potsdam3

FIRST, SECOND = 'one-to-one:labelled_test:labelled_test', 'many-to-one:labelled_train:labelled_test'
PROBES = ('linear:logits', 'non-linear:logits', 'linear:features', 'non-linear:features')
DONE = Outcome('', '')


def _entry(name, protocol, accuracy, mean_iou):
    words = f'{protocol.partition(":")[0]} words'
    return {'name': name, 'protocol': protocol, 'in_words': words, 'scores': {'accuracy': accuracy, 'mean_iou': mean_iou}}


def _probe(name, accuracy):
    return {'name': name, 'in_words': f'{name} in words', 'scores': {'accuracy': accuracy, 'mean_iou': 0.1}}


def _leave(sweep, key, step, results, probes=()):
    content = {'step': step, 'device': 'cpu', 'versions': {}, 'segmentation': {'results': results, 'clusters': {}}}
    path = state.directory_of(sweep.directory, key) / 'evaluations' / f'{step:06d}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | ({'probes': {'results': list(probes)}} if probes else {})))


def _finish(sweep, training, accuracy, probes=(), title='AC'):
    results = [_entry(f'{title}, step 7', FIRST, accuracy, 0.25), _entry(f'{title}, step 7', SECOND, 0.9, 0.8)]
    if training.slug == plan.BASE:
        results += [_entry('untrained network', FIRST, 0.1, 0.1), _entry('k-means on pixels', FIRST, 0.3, 0.2)]
    _leave(sweep, training.key, 7, results, probes)
    records = [
        {'step': 2, 'kind': 'training', 'images_per_second': 30.0, 'peak_bytes': 2.0**30},
        {'step': 2, 'kind': 'evaluation'},
        {'step': 7, 'kind': 'training', 'images_per_second': 15.0, 'peak_bytes': 3.0 * 2**30},
    ]
    directory = state.directory_of(sweep.directory, training.key)
    (directory / 'metrics.jsonl').write_text(''.join(json.dumps(record) + '\n' for record in records))
    workdir.save_config(directory, training.base.config)
    state.finish(sweep.directory, training)


def _changed(sweep, training, **changes):
    """The same training of a sweep whose config has other keys."""
    base = dataclasses.replace(training.base, config=sweep.base.config | changes)
    return dataclasses.replace(training, base=base)


def _with_protocols(sweep, *protocols):
    evaluators = sweep.base.config['evaluators'] | {'segmentation': {'protocols': protocols, 'baselines': True}}
    base = dataclasses.replace(sweep.base, config=sweep.base.config | {'evaluators': evaluators})
    return dataclasses.replace(sweep, base=base)


@pytest.fixture
def sweep(tmp_path):
    """Of configs/potsdam3.py with the network of the paper's tables, for 7 steps; rows find configs/arl_potsdam3.py."""

    def shortened(module):
        config = module.get_config()
        config.model.update(attention=False, output_stride=4)
        config.update(steps=7, epochs=0.0)
        return config.to_dict()

    base = plan.Base(potsdam3.__file__, shortened(potsdam3))
    return plan.Sweep(tmp_path, base, {'steps': 7}, {arl_potsdam3.__file__: shortened(arl_potsdam3)}.__getitem__)


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
    accuracies = {'base': (0.6, 0.7, 0.65), 'model.dropout=0.1': (0.5, 0.66)}
    outcomes = {}
    for training in plan.trainings(table, sweep, seeds):
        if training.seed < len(accuracies.get(training.slug, ())):
            _finish(sweep, training, accuracies[training.slug][training.seed])
            outcomes[training.key] = DONE
    outcomes['model.dropout=0.1', 2] = Outcome('exit status 2, see runs/x/2.log: broken', '')
    lines = collect.lines(table, sweep, seeds, outcomes)
    text = summary.markdown(table, sweep, seeds, lines)
    # 2 steps of 30 images at 30 a second and 5 at 15: 12 s
    assert '| p = 0 | 65.0 ± 5.0 (n = 3) | 25.0 ± 0.0 | - | 66.4 | 0:12 |' in text
    # Differences of -10 and -4 points; Student's t with one degree of freedom is 12.706 at 97.5 %
    half = 12.706 * statistics.stdev([-10, -4]) / math.sqrt(2)
    assert f'| p = 0.1 | 58.0 ± 11.3 (n = 2), 1 failed | 25.0 ± 0.0 | -7.0 ± {half:.1f} | 64.7 | 0:12 |' in text
    assert '| p = 0.2 | not yet run | - | - | 65.1 | - |' in text
    assert "from that of 'p = 0' with the same seed" in text
    assert '- p = 0.1 failed: seed 2: exit status 2, see runs/x/2.log: broken' in text
    assert '- Device: cpu' in text and 'one-to-one words' in text and '7 steps of 30 images' in text and '`steps=7`' in text
    rows = list(csv.DictReader(io.StringIO(summary.as_csv(table, sweep, lines))))
    assert [float(rows[0][key]) for key in ('accuracy', 'accuracy_std', 'paper', 'n', 'seconds')] == pytest.approx(
        [65, 5, 66.4, 3, 12]
    )
    assert rows[0]['accuracy of each'] == '60.0000 70.0000 65.0000'
    assert (float(rows[0]['mean_iou']), rows[0]['mean_iou of each']) == (25, '25.0000 25.0000 25.0000')
    assert float(rows[1]['difference']) == pytest.approx(-7) and float(rows[1]['difference_95']) == pytest.approx(half, rel=1e-4)
    assert rows[0]['difference'] == '' and rows[1]['failed'] == '1' and rows[2]['accuracy'] == '' and rows[2]['waiting'] == '3'
    assert drawing.png(table, lines, 'potsdam3').startswith(b'\x89PNG')


def test_rows_are_compared_with_those_of_their_matching(sweep):
    """One-to-one and many-to-one scores do not compare, though 'K' has both from one run."""
    rows = (
        Row('K'),
        Row('dropout', overrides={'model.dropout': 0.1}),
        Row('K, many-to-one', matching='many-to-one'),
        Row('dropout, many-to-one', overrides={'model.dropout': 0.1}, matching='many-to-one'),
    )
    table, outcomes = Table('both', 'Both', 'nowhere', rows), {}
    for training in plan.trainings(table, sweep, [0]):
        first, second = (0.5, 0.9) if training.slug == plan.BASE else (0.6, 0.95)
        _finish(sweep, training, first)
        results = [_entry('AC, step 7', FIRST, first, 0.2), _entry('AC, step 7', SECOND, second, 0.2)]
        _leave(sweep, training.key, 7, results)
        outcomes[training.key] = DONE
    lines = collect.lines(table, sweep, [0], outcomes)
    found = list(csv.DictReader(io.StringIO(summary.as_csv(table, sweep, lines))))
    assert [float(row['accuracy']) for row in found] == pytest.approx([50, 60, 90, 95])
    assert [row['difference'] and float(row['difference']) for row in found] == ['', pytest.approx(10), '', pytest.approx(5)]
    text = summary.markdown(table, sweep, [0], lines)
    assert "from that of 'K' or 'K, many-to-one', the one of their matching, with the same seed" in text


def test_a_table_of_objects_is_read_from_their_evaluator(tmp_path):
    config = ast_objects_small.get_config().to_dict()
    sweep = plan.Sweep(tmp_path, plan.Base(ast_objects_small.__file__, config), {}, lambda file: config)
    rows = (
        Row('AST'),
        Row('one scale', overrides={'method.scales': 1}),
        Row('before training', 'untrained'),
        Row('blocks', 'baseline', method='blocks'),
    )
    table = Table('objects', 'Objects', 'nowhere', rows, (tables.INSTANCES,), ('mean_iou', 'ari_fg'))
    outcomes = {}
    for training in plan.trainings(table, sweep, [0]):
        assert not [part for part in training_command(sweep, training) if 'segmentation' in part]
        told = '--config.evaluators.instances.baselines=False' in training_command(sweep, training)
        assert told == (training.slug != plan.BASE)
        for step, name, value in ((0, 'AST, step 0', 0.1), (7, 'AST, step 7', 0.5 + 0.1 * told)):
            entries = [(name, value), ('k-means on pixels', 0.3), ('blocks', 0.2)]
            results = [
                _entry(name, 'instances:val', 0, value) | {'scores': {'mean_iou': value, 'ari_fg': value / 2}}
                for name, value in entries
            ]
            path = workdir.evaluation(state.directory_of(tmp_path, training.key), step)
            files.write_json(path, {'step': step, 'device': 'cpu', tables.INSTANCES: {'results': results}})
        (path.parents[1] / 'metrics.jsonl').touch()
        workdir.save_config(path.parents[1], config)
        state.finish(tmp_path, training)
        assert state.finished(tmp_path, training)
        outcomes[training.key] = DONE
    text = summary.markdown(table, sweep, [0], collect.lines(table, sweep, [0], outcomes))
    assert '| ours, mIoU | ARI-FG | difference |' in text and '- Protocol: instances words' in text
    for name, value in (('AST', 50), ('one scale', 60), ('before training', 10), ('blocks', 20)):
        assert f'| {name} | {value}.0 (n = 1) | {value / 2} |' in text


def test_the_best_step_by_the_scored_labels_is_shown_only_where_a_table_says_so(sweep):
    table = dataclasses.replace(tables.load('dropout'), selection='best_on_scored_labels')
    trainings = plan.trainings(table, sweep, [0])
    for training in trainings:
        _finish(sweep, training, 0.5)
    journal = workdir.metrics(state.directory_of(sweep.directory, trainings[0].key))
    scored = [(2, 0.4, 0.3), (4, 0.8, 0.2), (7, 0.5, 0.25)]
    with journal.open('a') as file:
        for step, accuracy, mean_iou in scored:
            record = {'step': step, 'kind': 'evaluation', f'{FIRST}/accuracy': accuracy, f'{FIRST}/mean_iou': mean_iou}
            file.write(json.dumps(record) + '\n')
    outcomes = {training.key: DONE for training in trainings}
    best, unscored, _ = collect.lines(table, sweep, [0], outcomes)
    (score,) = best.scores['segmentation']
    assert (score.values, score.step) == ({'accuracy': 0.8, 'mean_iou': 0.2}, 4)
    assert score.protocol.endswith('the best of 3 evaluated steps by just these labels: no held-out score')
    assert 'no step was scored during training as one-to-one:labelled_test:labelled_test' in unscored.failures[0]
    (last,) = collect.lines(tables.load('dropout'), sweep, [0], outcomes)[0].scores['segmentation']
    assert (last.values['accuracy'], last.step) == (0.5, 7)


def test_the_comparison_takes_its_rows_from_where_they_are(sweep):
    table = tables.load('comparison')
    table = dataclasses.replace(table, rows=tuple(row for row in table.rows if not row.config or row.name == 'PiCIE 2021'))
    table = sweep.available(table)
    training, auxiliary = plan.trainings(table, sweep, [0])
    assert auxiliary.overrides == {'method.auxiliary_clusters': 15}
    _finish(sweep, training, 0.6)
    _leave(sweep, training.key, 0, [_entry('AC, step 0', FIRST, 0.35, 0.12)])
    lines = collect.lines(table, sweep, [0], {training.key: DONE})
    found = {line.row.name: [score.values['accuracy'] for score in line.scores['segmentation']] for line in lines}
    assert found['AC'] == [0.6] and found['random CNN (untrained)'] == [0.35] and found['k-means on pixels'] == [0.3]
    text = summary.markdown(table, sweep, [0], lines)
    assert '| PiCIE 2021 | no config | - | - | - | - |' in text
    assert '| k-means on SIFT | failed | - | - | 38.2 | - |' in text and 'has no k-means on SIFT score' in text


def test_an_untrained_network_that_could_not_be_scored_fails_its_own_row_only(sweep):
    table = tables.load('models')
    training = plan.trainings(table, sweep, [0])[0]
    _finish(sweep, training, 0.6)
    lines = collect.lines(table, sweep, [0], {training.key: Outcome('', 'no checkpoint')})
    assert lines[0].failures == ['seed 0: no checkpoint'] and not lines[0].scores['segmentation']
    scores = lines[2].scores['segmentation']
    assert lines[2].row.name.startswith('F2') and scores[0].values['accuracy'] == 0.6 and not lines[2].failures


def test_a_row_of_another_config_has_the_score_and_the_time_of_its_own_run(sweep):
    theirs = sweep.load(arl_potsdam3.__file__)
    evaluators = theirs['evaluators'] | {'segmentation': {'protocols': ('many-to-one:labelled_train',), 'baselines': True}}
    theirs |= {'pipeline': theirs['pipeline'] | {'batch_size': 10}, 'evaluators': evaluators}
    sweep = dataclasses.replace(sweep, load={arl_potsdam3.__file__: theirs}.__getitem__)
    table = tables.load('objectives')
    own, other = plan.trainings(table, sweep, [0])
    probes = [_probe(name, 0.5) for name in PROBES]
    _finish(sweep, own, 0.6, probes)
    _finish(sweep, other, 0.3, probes, title='ARL')
    untrained, ac, arl = collect.lines(table, sweep, [0], {own.key: DONE, other.key: DONE})
    assert (ac.row.name, ac.scores['segmentation'][0].values['accuracy'], ac.costs) == ('AC', 0.6, [(12.0, 2.0, 3 * 2**30)])
    # 0.9 is the score of all runs under its protocol, and its batches are of 10 images, not of 30.
    assert (arl.row.name, arl.scores['segmentation'][0].values['accuracy'], arl.costs) == (
        'ARL',
        0.9,
        [(4.0, pytest.approx(2 / 3), 3 * 2**30)],
    )
    assert untrained.failures  # nobody scored it


def test_scores_that_an_evaluation_does_not_hold_fail_their_row(sweep):
    table = dataclasses.replace(tables.load('dropout'), scores=('accuracy', 'precision'))
    training = plan.trainings(table, sweep, [0])[0]
    _finish(sweep, training, 0.6)
    line = collect.lines(table, sweep, [0], {training.key: DONE})[0]
    assert line.failures == ['seed 0: the evaluation of step 7 has no precision among its segmentation scores']


def test_probes_have_columns_of_their_own(sweep):
    table = tables.load('objectives')
    probes = [_probe(name, accuracy) for name, accuracy in zip(PROBES, (0.41, 0.82, 0.5, 0.9), strict=True)]
    training = plan.trainings(table, sweep, [0])[0]
    _finish(sweep, training, 0.6)
    assert state.lacking(state.evaluation(sweep.directory, training.key), training) == list(PROBES)
    assert not state.finished(sweep.directory, training)
    _finish(sweep, training, 0.6, probes)
    assert state.finished(sweep.directory, training)
    text = summary.markdown(table, sweep, [0], collect.lines(table, sweep, [0], {training.key: DONE}))
    cells = '60.0 (n = 1) | 25.0 | - | 66.4 | 41.0 (n = 1) | 10.0 | - | 41.4 | 82.0 (n = 1) | 10.0 | - | 81.8'
    assert f'| AC | {cells} | 50.0 (n = 1) | 10.0 | - | - | 90.0 (n = 1) | 10.0 | - | - | 0:12 |' in text
    assert 'linear:logits in words' in text
    # another table does not want the probes, and a new evaluation would lose them
    other = plan.trainings(tables.load('sampling'), sweep, [0])[0]
    assert other.key == training.key and not other.probes
    assert state.keeping(state.evaluation(sweep.directory, training.key), other).probes == PROBES


def test_a_longer_training_or_another_config_is_not_finished(sweep):
    training = plan.trainings(tables.load('dropout'), sweep, [0])[0]
    _finish(sweep, training, 0.6)
    assert state.finished(sweep.directory, training)
    evaluation, evaluators = sweep.base.config['evaluation'], sweep.base.config['evaluators']
    assert state.finished(sweep.directory, _changed(sweep, training, evaluation=evaluation | {'pictures': 1}))
    fewer = evaluators | {'probes': evaluators['probes'] | {'names': ()}}
    assert state.finished(sweep.directory, _changed(sweep, training, evaluators=fewer))
    longer = evaluators | {'probes': evaluators['probes'] | {'steps': 40}}
    assert not state.finished(sweep.directory, _changed(sweep, training, evaluators=longer))
    assert not state.finished(sweep.directory, _changed(sweep, training, evaluation=evaluation | {'crop_size': 128}))
    assert not state.finished(sweep.directory, _changed(sweep, training, epochs=20.0))
    assert not state.finished(sweep.directory, _changed(sweep, training, steps=8))


def test_a_run_that_was_trained_further_than_the_sweep_says_is_refused(sweep):
    training = plan.trainings(tables.load('dropout'), sweep, [0])[0]
    with pytest.raises(UserError, match=r'runs/base/0 was trained to step 7, beyond 6; use another --workdir$'):
        _finish(sweep, _changed(sweep, training, steps=6), 0.6)


def test_a_row_may_be_trained_for_longer_than_others(sweep):
    table = Table('t', 't', 's', (Row('twice', overrides={'steps': {'times': 2, 'of': 'steps'}}),))
    (training,) = plan.trainings(table, sweep, [0])
    _leave(sweep, training.key, 14, [_entry('AC, step 14', FIRST, 0.6, 0.5)])
    state.finish(sweep.directory, training)
    assert state.evaluation(sweep.directory, training.key)['step'] == 14
    _leave(sweep, training.key, 15, [_entry('AC, step 15', FIRST, 0.6, 0.5)])
    with pytest.raises(UserError, match=r'runs/steps=14/0 was trained to step 15, beyond 14; use another --workdir$'):
        state.finish(sweep.directory, training)


def test_an_evaluation_whose_initial_weights_were_gone_is_finished(sweep):
    """It lacks the network before training, which is called otherwise where it has initial weights, and no row is of it."""
    (training,) = plan.trainings(tables.load('sampling'), sweep, [0])[:1]
    _finish(sweep, training, 0.6)
    content = state.evaluation(sweep.directory, training.key)
    results = [entry for entry in content['segmentation']['results'] if entry['name'] != 'untrained network']
    _leave(sweep, training.key, 7, results)
    assert state.finished(sweep.directory, training)
    _leave(sweep, training.key, 7, results[:-1])
    assert not state.finished(sweep.directory, training)  # baselines are lacking


def test_commands_are_those_that_a_person_would_type(sweep):
    base, dropout = plan.trainings(tables.load('dropout'), sweep, [4])[:2]
    begin = ['-m', 'ar_seg_jax.main', '--config', potsdam3.__file__, '--config.steps=7']
    without = '--config.evaluators.probes.names=()'
    directory = str(sweep.directory / 'runs/base/4')
    assert training_command(sweep, base)[1:] == [*begin, without, '--config.seed=4', '--workdir', directory]
    assert training_command(sweep, dropout)[1:] == [
        *begin,
        '--config.model.dropout=0.1',
        '--config.evaluators.segmentation.baselines=False',
        without,
        '--config.evaluation.pictures=0',
        '--config.seed=4',
        '--workdir',
        str(sweep.directory / 'runs/model.dropout=0.1/4'),
    ]
    probed, other = plan.trainings(tables.load('objectives'), sweep, [4])
    assert f'--config.evaluators.probes.names={PROBES}' in training_command(sweep, probed)
    evaluators = sweep.base.config['evaluators']
    same = _changed(sweep, probed, evaluators=evaluators | {'probes': evaluators['probes'] | {'names': PROBES}})
    assert not any('probes' in argument for argument in training_command(sweep, same))  # they are what the table shows
    assert training_command(sweep, other)[1:5] == ['-m', 'ar_seg_jax.main', '--config', arl_potsdam3.__file__]
    matched = plan.trainings(tables.load('overclustering'), _with_protocols(sweep, 'one-to-one'), [4])[0]
    both = ('one-to-one:labelled_test:labelled_test', 'many-to-one:unlabelled_train+labelled_train:labelled_test')
    assert f'--config.evaluators.segmentation.protocols={both}' in training_command(sweep, matched)
    assert scoring_command(sweep, base)[1:] == ['-m', 'ar_seg_jax.evaluate', '--workdir', directory, '--step', '0']


def test_a_run_without_scores_is_not_finished(sweep):
    """Its evaluation tells the shapes of clusters, as without labels."""
    training = plan.trainings(tables.load('dropout'), sweep, [0])[0]
    directory = state.directory_of(sweep.directory, training.key)
    files.write_json(workdir.evaluation(directory, 7), {'step': 7, 'segmentation': {'shapes': {'split': 'val', 'clusters': []}}})
    with pytest.raises(UserError, match='holds no scores; a table needs data with labels'):
        state.finish(sweep.directory, training)
