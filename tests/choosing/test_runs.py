"""Real runs as candidates."""

import dataclasses
import json
import shutil

import pytest

from ar_seg_jax.choosing import runs
from ar_seg_jax.errors import UserError
from ar_seg_jax.runs import workdir


@pytest.fixture
def directories(trained, tmp_path):
    """A run, and what would be the same one with another seed."""
    shutil.copytree(trained.directory, tmp_path / 'other')
    return {'first': trained.directory, 'other': tmp_path / 'other'}


def _change(directory, part, **values):
    config = workdir.load_config(directory)
    (config[part] if part else config).update(values)
    (directory / 'config.json').write_text(json.dumps(config))


def test_runs_that_differ_in_the_seed_are_compared_with_each_other_and_scores_come_from_their_evaluations(directories, caplog):
    _change(directories['other'], '', seed=1)
    shutil.copytree(directories['other'], directories['other'].with_name('wider'))
    _change(wider := directories['other'].with_name('wider'), 'method', displacement=2)
    found = runs.choose({**directories, 'wider': wider}, 5)
    saved = json.loads(workdir.evaluation(directories['first'], 6).read_text())['segmentation']['results'][0]
    by_name = {one.name: one for one in found.candidates}
    assert {one.score for one in by_name.values()} == {saved['scores']['mean_iou']}
    assert [by_name[name].criteria.seeds for name in ('first', 'other', 'wider')] == [1.0, 1.0, None]
    same = [dataclasses.replace(one.criteria, seeds=None) for one in by_name.values()]
    assert same[0] == same[1] == same[2]  # they are copies of one network
    assert found.places == [2, 2, 2]


def test_runs_of_other_images_are_refused(directories):
    _change(directories['other'], 'data', size=64)
    with pytest.raises(UserError, match=r'runs are compared on the same images, and .*data\.size'):
        runs.choose(directories, 5)


def test_a_run_without_a_network_is_left_out_and_one_is_too_few(directories, caplog):
    shutil.rmtree(directories['other'] / 'checkpoints')
    with caplog.at_level('WARNING'), pytest.raises(UserError, match='nothing to choose among: fewer than two runs'):
        runs.choose(directories, 5)
    assert 'other is left out' in caplog.text
