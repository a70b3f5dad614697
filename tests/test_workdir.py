import pytest

from ar_seg_jax import workdir
from ar_seg_jax.classes import Class

CONFIG = {'seed': 0, 'steps': 10, 'model': {'blocks': 2}, 'evaluation': {'protocols': ('one-to-one:val:val',)}}


def test_a_run_can_go_on_with_other_lengths_and_cadences(tmp_path):
    workdir.keep_config(tmp_path, CONFIG)
    workdir.keep_config(tmp_path, CONFIG | {'steps': 20, 'evaluation': {'protocols': ()}})
    assert workdir.load_config(tmp_path)['steps'] == 20


def test_a_run_cannot_go_on_with_another_model(tmp_path):
    workdir.keep_config(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r'model\.blocks was 2, is 3.*Use another --workdir'):
        workdir.keep_config(tmp_path, CONFIG | {'model': {'blocks': 3}})
    assert workdir.load_config(tmp_path)['model']['blocks'] == 2


def test_a_directory_that_is_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'config\.json: no such file; --workdir should be'):
        workdir.load_config(tmp_path)


def test_classes_of_clusters_come_back_as_saved(tmp_path):
    assert workdir.load_cluster_classes(tmp_path, 7) is None
    clusters = {'mapping': [1, -1], 'classes': [{'name': 'road', 'colour': [1, 2, 3]}]}
    workdir.write_json(workdir.evaluation(tmp_path, 7), {'clusters': clusters})
    assert workdir.load_cluster_classes(tmp_path, 7) == ([1, -1], (Class('road', (1, 2, 3)),))
