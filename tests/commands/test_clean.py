"""Removal of prepared data as a user starts it; what is ours at all is in data/test_prepared.py."""

import json
import subprocess

import pytest

from ar_seg_jax import files
from ar_seg_jax.data import prepared
from ar_seg_jax.data.form import Form
from ar_seg_jax.runs import workdir
from configs import textures
from tests.support import commands


@pytest.fixture
def place(tmp_path):
    """A data_dir with four variants of textures and one of objects, and runs that use two of them."""
    for dataset, variants in {'textures': 'abcd', 'objects': 'e'}.items():
        for letter in variants:
            directory = tmp_path / 'data' / dataset / f'x-{letter * 12}' / '1.0.0'
            directory.mkdir(parents=True)
            info = {'name': dataset, 'description': f'{prepared.PURPOSE}: x'}
            (directory / 'dataset_info.json').write_text(json.dumps(info))
            (directory / 'records').write_bytes(bytes(2_000_000))
    for run, letter in (('here/deeper/run', 'a'), ('there/run', 'b')):
        workdir.save_config(tmp_path / run, textures.get_config().to_dict())
        workdir.save_data(tmp_path / run, Form(3, 1.0, 0), (), f'x-{letter * 12}')
    (tmp_path / 'here' / 'link').symlink_to(tmp_path / 'there')
    return tmp_path


def _left(place):
    return sorted(path.parent.name[-1] for path in place.glob('data/*/*/1.0.0'))


def _clean(place, *arguments, answer='', cwd='here'):
    return commands.run('clean', f'--data_dir={place / "data"}', *arguments, directory=place / cwd, input=answer)


def test_what_no_run_uses_is_listed_with_its_size_and_removed_after_asking(place):
    done = _clean(place, f'--workdir={place / "there" / "run"}', answer='\n')
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ['2', 'MB', 'objects/x-eeeeeeeeeeee/1.0.0'],
        ['2', 'MB', 'textures/x-cccccccccccc/1.0.0'],
        ['2', 'MB', 'textures/x-dddddddddddd/1.0.0'],
    ]
    assert lines[3] == f'3 prepared in {place / "data"}, 6 MB, used by none of 2 runs'
    assert done.returncode == 0 and _left(place) == list('abcde')
    done = _clean(place)
    assert (
        done.returncode == 1 and done.stderr == 'error: nobody answers, and nothing was removed; --yes removes without asking\n'
    )
    with files.lock(place / 'data' / 'textures' / 'x-dddddddddddd' / '.1.0.0.readers', shared=True):
        done = _clean(place, f'--workdir={place / "there" / "run"}', answer='y\n')
    assert done.returncode == 0 and done.stdout.endswith('Removed 4 MB\n'), done.stderr
    assert 'x-dddddddddddd/1.0.0 stays: a process prepares or reads it' in done.stderr
    assert _left(place) == list('abd')


def test_output_that_nobody_reads_is_told_in_a_line(place):
    line = commands.line('clean', f'--data_dir={place / "data"}', f'--workdir={place / "here" / "deeper" / "run"}', '--yes')
    options = {'cwd': place / 'there', 'env': commands.environment(PYTHONPATH=str(commands.ROOT)), 'text': True}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        process.stdout.close()
        told = process.stderr.read()
    assert told == 'error: nobody reads the output any more; what was to be written to files is there\n'
    assert process.returncode == 1


def test_all_variants_stay_of_the_data_set_of_a_run_that_does_not_say_which_it_uses(place):
    path = place / 'here' / 'deeper' / 'run' / 'data.json'
    files.write_json(path, {key: value for key, value in json.loads(path.read_text()).items() if key != 'prepared'})
    assert _clean(place, '--yes').returncode == 0
    assert _left(place) == list('abcd')


def test_nothing_is_removed_where_there_is_no_run_or_one_that_cannot_be_read(place):
    (place / 'empty').mkdir()
    done = _clean(place, '--yes', cwd='empty')
    assert done.returncode == 1 and 'nothing was removed: there is no run to compare with' in done.stderr
    (place / 'there' / 'run' / 'config.json').write_text('{')
    done = _clean(place, '--yes', f'--workdir={place / "there" / "run"}')
    assert done.returncode == 1 and 'config.json: not JSON' in done.stderr and 'Traceback' not in done.stderr
    assert _left(place) == list('abcde')
