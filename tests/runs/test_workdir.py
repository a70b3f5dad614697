import os

import pytest
from ar_seg_jax.classes import Class

from ar_seg_jax import workdir

CONFIG = {'seed': 0, 'steps': 10, 'model': {'blocks': 2}, 'evaluation': {'protocols': ('one-to-one:val:val',)}}


def test_a_run_can_go_on_with_other_lengths_and_cadences(tmp_path):
    workdir.check_config(tmp_path, CONFIG)
    workdir.save_config(tmp_path, CONFIG)
    workdir.check_config(tmp_path, CONFIG | {'steps': 20, 'evaluation': {'protocols': ()}})


def test_a_run_cannot_go_on_with_another_model(tmp_path):
    workdir.save_config(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r'model\.blocks is 2 in that run, 3 in this one.*Use another --workdir'):
        workdir.check_config(tmp_path, CONFIG | {'model': {'blocks': 3}})


def test_the_directory_of_a_living_run_is_refused(tmp_path):
    lock = workdir.claim(tmp_path)
    with pytest.raises(ValueError, match=rf'is in use by process {os.getpid()} on .*; wait for it to end'):
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
    with pytest.raises(ValueError, match=f'{part} is a link to {outside}, outside of the run'):
        workdir.check_inside(run)


def test_a_damaged_json_file_is_named(tmp_path):
    (tmp_path / 'config.json').write_text('{"seed":')
    with pytest.raises(ValueError, match=r'config\.json: not the JSON that was written here'):
        workdir.load_config(tmp_path)


def test_a_directory_that_is_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'config\.json: no such file; --workdir should be'):
        workdir.load_config(tmp_path)


def test_classes_of_clusters_come_back_as_saved(tmp_path):
    assert workdir.load_cluster_classes(tmp_path, 7) is None
    clusters = {'mapping': [0, -1], 'classes': [{'name': 'road', 'colour': [1, 2, 3]}]}
    workdir.write_json(workdir.evaluation(tmp_path, 7), {'clusters': clusters})
    assert workdir.load_cluster_classes(tmp_path, 7) == ([0, -1], (Class('road', (1, 2, 3)),))
