"""What is read from, and checked in, the directory of a run, which may come from anywhere."""

import copy
import json
import os

import pytest

import ar_seg_jax
from ar_seg_jax import files
from ar_seg_jax.data.classes import Class
from ar_seg_jax.data.form import Form
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Normalisation
from ar_seg_jax.runs import workdir
from configs import common, textures

CONFIG = textures.get_config().to_dict()


def _changed(name, value, config=CONFIG):
    """The config with another value of 'part.key'."""
    changed = copy.deepcopy(config)
    *parts, last = name.split('.')
    place = changed
    for part in parts:
        place = place[part]
    place[last] = value
    return changed


def _began(directory, config):
    """A run that saved a state with this config."""
    workdir.save_config(directory, config)
    (workdir.checkpoints(directory) / '3').mkdir(parents=True)


def test_a_run_can_go_on_with_other_lengths_and_cadences(tmp_path):
    workdir.check_config(tmp_path, CONFIG)
    _began(tmp_path, CONFIG)
    protocols = {'segmentation': {'protocols': (), 'baselines': False}}
    workdir.check_config(tmp_path, CONFIG | {'steps': 20, 'log_every': 7, 'evaluators': protocols})
    workdir.check_config(tmp_path, _changed('evaluation.split', 'train'))


@pytest.mark.parametrize('name', ['steps', 'epochs'])
@pytest.mark.parametrize('schedule', ['constant', 'steps', 'linear', 'cosine'])
def test_the_length_is_fixed_where_the_learning_rate_follows_it(tmp_path, schedule, name):
    config = _changed('optimizer.schedule', {'name': schedule})
    _began(tmp_path, config)
    longer = _changed(name, 12345, config)
    if schedule in ('constant', 'steps'):
        workdir.check_config(tmp_path, longer)
    else:
        with pytest.raises(UserError, match=rf'another config: {name} is [0-9.]+ in that run, 12345 in this one\. Use another'):
            workdir.check_config(tmp_path, longer)


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('model.blocks', 3, r'model\.blocks is 2 in that run, 3 in this one'),
        ('data.size', 64, r'data\.size is 128 in that run, 64 in this one'),
        ('pipeline.batch_size', 32, r'pipeline\.batch_size is 16 in that run, 32 in this one'),
        ('optimizer.rates', {'stem': 0.5}, r'optimizer\.rates\.stem is None in that run, 0\.5 in this one'),
        ('frozen', ('stem',), r"frozen is \[\] in that run, \['stem'\] in this one"),
        ('seed', 1, r'seed is 0 in that run, 1 in this one'),
    ],
)
def test_a_run_cannot_go_on_with_another_model_or_training(tmp_path, name, value, message):
    _began(tmp_path, CONFIG)
    with pytest.raises(UserError, match=rf'holds a run with another config: {message}\. Use another --workdir'):
        workdir.check_config(tmp_path, _changed(name, value))


def test_all_differences_of_another_method_are_named(tmp_path):
    _began(tmp_path, CONFIG)
    with pytest.raises(
        UserError, match=r"method\.name is 'ac' in that run, 'arl' in this one; .*method\.width is None in that run"
    ):
        workdir.check_config(tmp_path, CONFIG | {'method': common.arl()})


def _without(config, *names):
    """The config without the keys 'part.key'."""
    config = copy.deepcopy(config)
    for part, key in (name.split('.') for name in names):
        del config[part][key]
    return config


@pytest.mark.parametrize(
    ('config', 'names', 'other'),
    [
        (CONFIG, ('method.common_taps_only', 'optimizer.warmup_power'), ('method.common_taps_only', True, 'False')),
        (CONFIG, ('initial_weights.layout', 'initial_weights.without'), ('initial_weights.layout', 'mit', "'own'")),
        (CONFIG | {'method': common.arl()}, ('method.common_taps_only',), ('method.common_taps_only', True, 'False')),
        (CONFIG | {'method': common.mixture()}, ('method.components',), ('method.components', 3, '0')),
        (CONFIG | {'model': common.vit()}, ('model.magnify',), ('model.magnify', 2, '1')),
        (CONFIG, ('model.normalise', 'model.borders'), ('model.normalise', 'data', "'none'")),
        (CONFIG, ('method.regions', 'method.contrast', 'method.temperature'), ('method.regions', 64, '0')),
    ],
)
def test_an_older_run_goes_on_where_keys_that_it_did_not_know_say_what_it_did(tmp_path, config, names, other):
    _began(tmp_path, _without(config, *names))
    workdir.check_config(tmp_path, config)
    assert workdir.load_config(tmp_path) == workdir.plain(config)
    name, value, before = other
    with pytest.raises(UserError, match=rf'another config: {name} is {before} in that run, {value!r} in this one\. Use'):
        workdir.check_config(tmp_path, _changed(name, value, config))


def test_an_older_run_does_not_go_on_where_it_did_something_else_than_the_key_says(tmp_path):
    _began(tmp_path, _without(CONFIG, 'model.geometry'))  # cells were taken to be elsewhere
    with pytest.raises(UserError, match=r"another config: model\.geometry is None in that run, 'centred' in this one\."):
        workdir.check_config(tmp_path, CONFIG)


def test_the_directory_of_a_living_run_is_refused(tmp_path):
    lock = workdir.claim(tmp_path)
    with pytest.raises(UserError, match=rf'is in use by process {os.getpid()} on .*; wait for it to end'):
        workdir.claim(tmp_path)
    lock.close()
    workdir.claim(tmp_path).close()


def test_a_lock_that_a_dead_process_left_does_not_block(tmp_path):
    (tmp_path / 'lock').write_text('process 1 on elsewhere\n')
    workdir.claim(tmp_path).close()
    assert (tmp_path / 'lock').read_text().startswith(f'process {os.getpid()} on ')


@pytest.mark.parametrize('part', ['checkpoints', 'metrics.jsonl', 'lock'])
def test_links_that_lead_out_of_the_run_are_refused(tmp_path, part):
    run, outside = tmp_path / 'run', tmp_path / 'outside'
    run.mkdir()
    (run / 'elsewhere').mkdir()
    (run / part).symlink_to(run / 'elsewhere')
    workdir.check_inside(run)
    (run / part).unlink()
    (run / part).symlink_to(outside)
    with pytest.raises(UserError, match=f'{part} is a link to {outside}, outside of the run'):
        workdir.check_inside(run)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"seed":', r'config\.json: not JSON \(.*\); restore it from a copy$'),
        ('[1, 2]', r'config\.json: expected a JSON object, found list; restore it from a copy$'),
        ('[' * 100_000, r'config\.json: not JSON \(.*\); restore it from a copy$'),
    ],
)
def test_a_damaged_json_file_is_named(tmp_path, content, message):
    (tmp_path / 'config.json').write_text(content)
    with pytest.raises(UserError, match=message):
        workdir.load_config(tmp_path)


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('seed', 'zero', r"config\.json: seed: expected a whole number, found 'zero'$"),
        ('steps', True, r'config\.json: steps: expected a whole number, found True$'),
        ('pipeline', 7, r'config\.json: pipeline: expected keys with values, found 7$'),
        ('pipeline.batch_size', '4', r"config\.json: pipeline: batch_size: expected a whole number, found '4'$"),
        ('optimizer', {'name': 'adam', 'learning_rate': 1.0}, r"config\.json: optimizer: lacks 'schedule'$"),
        ('method', {}, r"config\.json: method: lacks 'name'$"),
        ('frozen', 'stem', r"config\.json: frozen: expected a list, found 'stem'; a list of one is \('stem',\)$"),
        ('frozen', ['stem', 3], r'config\.json: frozen\[1\]: expected a text, found 3$'),
        ('evaluators', {'probes': 3}, r'config\.json: evaluators\.probes: expected keys with values, found 3$'),
    ],
)
def test_a_wrong_value_in_a_config_that_was_written_by_hand_is_named(tmp_path, name, value, message):
    workdir.save_config(tmp_path, _changed(name, value))
    with pytest.raises(UserError, match=message):
        workdir.load_config(tmp_path)


def test_a_config_comes_back_as_json_has_it(tmp_path):
    workdir.save_config(tmp_path, CONFIG)
    expected = copy.deepcopy(CONFIG)
    expected['frozen'] = expected['initial_weights']['without'] = expected['method']['shares'] = []
    expected['evaluators']['segmentation']['protocols'] = ['one-to-one']
    expected['evaluators']['probes']['names'] = ['linear', 'non-linear']
    assert workdir.load_config(tmp_path) == expected


def test_a_directory_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r'config\.json: no such file; --workdir should be the directory of a run'):
        workdir.load_config(tmp_path)


def test_a_run_of_another_form_is_refused_with_both_versions(tmp_path):
    workdir.save_config(tmp_path, CONFIG)
    written = json.loads((tmp_path / 'versions.json').read_text())
    assert written['format'] == 2 and written['ar_seg_jax'] == ar_seg_jax.__version__ and written['jax']
    own = ar_seg_jax.__version__
    (tmp_path / 'versions.json').write_text(json.dumps(written | {'format': 3, 'ar_seg_jax': '9.8'}))
    with pytest.raises(UserError, match=rf'holds a run of ar_seg_jax 9\.8, which this version \({own}\) cannot read'):
        workdir.load_config(tmp_path)
    (tmp_path / 'versions.json').unlink()  # the first version wrote none
    with pytest.raises(UserError, match=rf'holds a run of ar_seg_jax 0\.1\.0, which this version \({own}\) cannot read'):
        workdir.load_config(tmp_path)
    (tmp_path / 'versions.json').write_text('{}')
    with pytest.raises(UserError, match=r'versions\.json: expected an object with format, which lacks format; restore it'):
        workdir.load_config(tmp_path)


def test_what_images_were_like_comes_back_as_saved(tmp_path):
    workdir.save_data(tmp_path, Form(4, 0.5, 320), (Class('road', (1, 2, 3)),), 'pack-0')
    assert workdir.load_form(tmp_path) == Form(4, 0.5, 320)
    (tmp_path / 'data.json').write_text('{"channels": 3, "rescale": 0.5, "classes": []}')  # of a run before there were sides
    assert workdir.load_form(tmp_path) == Form(3, 0.5)
    (tmp_path / 'data.json').write_text('{"channels": 3}')
    with pytest.raises(UserError, match=r'data\.json: expected an object with channels, rescale, which lacks rescale'):
        workdir.load_form(tmp_path)


def test_what_was_measured_comes_back_as_saved(tmp_path):
    found = Normalisation((0.1, 0.25, 1 / 3), (0.2, 0.1, 0.05))
    workdir.save_data(tmp_path, Form(3), (), 'pack-0', found)
    assert workdir.load_normalisation(tmp_path) == found and workdir.load_form(tmp_path) == Form(3)
    content = json.loads((tmp_path / 'data.json').read_text())
    for wrong in (
        {'mean': [0, 0], 'deviation': [1, 1]},
        {'mean': [0, 0, 0], 'deviation': [1, 1, 0]},
        {'mean': [0, 0, float('nan')], 'deviation': [1, 1, 1]},
        {'mean': [0, 0, True], 'deviation': [1, 1, 1]},
        {'mean': [0, 0, 0]},
        [0, 1],
    ):
        (tmp_path / 'data.json').write_text(json.dumps(content | {'normalisation': wrong}))
        with pytest.raises(UserError, match=r'data\.json: expected a mean and a deviation above 0 of each channel in .normalis'):
            workdir.load_normalisation(tmp_path)
    workdir.save_data(tmp_path, Form(3), (), 'pack-0')
    with pytest.raises(UserError, match=r'data\.json: expected an object with channels, normalisation, which lacks norm'):
        workdir.load_normalisation(tmp_path)


def test_classes_of_clusters_come_back_as_saved(tmp_path):
    assert workdir.load_cluster_classes(tmp_path, 7) is None
    clusters = {'mapping': [0, -1], 'classes': [{'name': 'road', 'colour': [1, 2, 3]}]}
    files.write_json(workdir.evaluation(tmp_path, 7), {'segmentation': {'clusters': clusters}})
    assert workdir.load_cluster_classes(tmp_path, 7) == ([0, -1], (Class('road', (1, 2, 3)),))
    files.write_json(workdir.evaluation(tmp_path, 7), {'probes': {'results': []}})
    assert workdir.load_cluster_classes(tmp_path, 7) is None
    files.write_json(workdir.evaluation(tmp_path, 7), {'segmentation': {'clusters': {'mapping': [0]}}})
    with pytest.raises(UserError, match=r'000007\.json: expected "clusters" with their "mapping" and "classes"; evaluate'):
        workdir.load_cluster_classes(tmp_path, 7)


def test_a_run_is_foreign_if_it_or_its_config_belongs_to_another_user(tmp_path, monkeypatch):
    workdir.save_config(tmp_path, {})
    assert not workdir.is_foreign(tmp_path)
    monkeypatch.setattr(os, 'geteuid', lambda: tmp_path.stat().st_uid + 1)
    assert workdir.is_foreign(tmp_path)


def test_a_file_is_no_directory_of_a_run(tmp_path):
    (tmp_path / 'run').touch()
    with pytest.raises(UserError, match='run is a file; --workdir is the directory of a run'):
        workdir.check_inside(tmp_path / 'run')
