"""Data that changed since a run began is named, and waits for a decision."""

import json
import os
import shutil

import numpy as np
import PIL.Image
import pytest

from ar_seg_jax.data import builder, folder
from ar_seg_jax.data.form import Form
from ar_seg_jax.errors import UserError
from ar_seg_jax.runs import changes, workdir
from configs import folder as folder_config


@pytest.fixture
def place(tmp_path):
    """A folder of three images, prepared, and a run that saved a state with it."""
    (tmp_path / 'pack').mkdir()
    for name in 'abc':
        PIL.Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / 'pack' / f'{name}.png')
    prepared = builder.prepare(_builder(tmp_path))
    workdir.save_config(tmp_path / 'run', folder_config.get_config().to_dict())
    workdir.save_data(tmp_path / 'run', Form(3, 1.0, 0), (), prepared.builder_config.name)
    (workdir.checkpoints(tmp_path / 'run') / '3').mkdir(parents=True)
    return tmp_path


def _builder(place):
    return folder.builder(data_dir=str(place / 'data'), root=str(place / 'pack'), block_size=0)


def _alter(place):
    pack = place / 'pack'
    shutil.copy(pack / 'a.png', pack / 'd.png')
    (pack / 'c.png').unlink()
    os.utime(pack / 'b.png', ns=(1, 1))


def test_the_files_are_named_and_the_run_goes_on_when_told_to(place, caplog):
    changes.check(place / 'run', _builder(place), accepted=False)
    _alter(place)
    pack = place / 'pack'
    message = (
        f'{place}/run: data changed since the run began: files: 1 added ({pack}/d.png), 1 removed ({pack}/c.png), '
        f'1 changed ({pack}/b.png)'
    )
    with pytest.raises(UserError) as raised:
        changes.check(place / 'run', _builder(place), accepted=False)
    assert str(raised.value) == (
        f'{message}. Bring the data back as it was, begin again in another --workdir, or go on with what there is now: '
        '--changed_data'
    )
    changes.check(place / 'run', _builder(place), accepted=True)
    assert caplog.messages[-1] == message


def test_another_table_of_splits_is_a_change_too(place):
    (place / 'pack' / 'splits.csv').write_text('id,split\na,train\n')
    with pytest.raises(UserError, match=r'began: files: 2 removed \(.*/b\.png, .*/c\.png\)\. Bring'):
        changes.check(place / 'run', _builder(place), accepted=False)
    (place / 'pack' / 'splits.csv').write_text('id,split\na,train\nb,val\nc,val\n')
    with pytest.raises(UserError, match=r'began: no file, but its table of splits or classes, or how it is prepared\. Bring'):
        changes.check(place / 'run', _builder(place), accepted=False)


@pytest.mark.parametrize('content', [None, '[', '[1]'])
def test_that_data_changed_is_told_where_it_is_not_known_any_more_in_what(place, content):
    (sources,) = (place / 'data').rglob('sources.json')
    sources.unlink() if content is None else sources.write_text(content)
    _alter(place)
    with pytest.raises(UserError, match=r'since the run began: which files is not known any more\. Bring'):
        changes.check(place / 'run', _builder(place), accepted=False)


def test_runs_that_saved_nothing_or_know_nothing_of_it_are_not_checked(place):
    _alter(place)
    path = place / 'run' / 'data.json'
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in content.items() if key != 'prepared'}))
    changes.check(place / 'run', _builder(place), accepted=False)
    path.write_text(json.dumps(content))
    shutil.rmtree(workdir.checkpoints(place / 'run'))
    changes.check(place / 'run', _builder(place), accepted=False)
