"""The command as a user types it, with real runs of a model small enough for a test."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
from PIL import Image

from tests.support import commands

QUIET = ('--config.evaluation.pictures=0', '--config.evaluate_every=0', '--config.checkpoint_every=0')
OPTIONS = (*commands.TINY, *QUIET)
TABLES = {
    'two': {'title': 'Two', 'source': 'none', 'rows': [{'name': 'good'}, {'name': 'bad', 'overrides': {'model.vairant': 'F2'}}]},
    'one': {'title': 'One', 'source': 'none', 'rows': [{'name': 'good'}]},
    'other': {'title': 'Other', 'source': 'none', 'rows': [{'name': 'theirs', 'config': 'arl_{base}'}]},
    'lost': {'title': 'Lost', 'source': 'none', 'rows': [{'name': 'theirs', 'config': 'lost_{base}'}]},
}


def _start(base, *arguments):
    tables = base / 'tables.json'
    tables.write_text(json.dumps(TABLES))
    kept = (f'--config.data.data_dir={base / "tfds"}', f'--config.compilation_cache={base / "cache"}')  # by all sweeps below it
    line = commands.line('sweep', commands.TEXTURES, *kept, f'--tables={tables}', '--seeds=1', *OPTIONS, *arguments)
    options = {'cwd': commands.ROOT, 'env': commands.environment(), 'text': True}
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def _sweep(base, *arguments):
    process = _start(base, *arguments)
    output, told = process.communicate(timeout=120)
    assert 'Traceback' not in told, told
    return process.returncode, output, told


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    return tmp_path_factory.mktemp('sweep')


@pytest.fixture(scope='module')
def failing(base):
    """A sweep of which one row fails, two runs at once."""
    return _sweep(base, f'--workdir={base / "failing"}', '--table=two', '--jobs=2', '--config.steps=2')


def test_a_failing_row_is_named_with_its_log_and_the_others_go_on(base, failing):
    status, output, _ = failing
    assert status == 1
    assert re.search(r'\| good \| \d+\.\d \(n = 1\) \| \d+\.\d \| - \| - \| 0:\d\d \|', output), output
    assert '| bad | failed | - | - | - |' in output
    assert re.search(r'- bad failed: seed 0: exit status 2, see runs/model.vairant=F2/0.log: error: wrong key.*vairant', output)
    written = base / 'failing' / 'tables'
    assert (written / 'two.md').read_text() in output and (written / 'two.csv').exists() and (written / 'two.png').exists()


def test_a_finished_run_is_not_started_again_and_a_longer_one_goes_on(base, failing):
    directory = base / 'failing'
    log = directory / 'runs' / 'base' / '0.log'
    before = log.read_text()
    status, output, _ = _sweep(base, f'--workdir={directory}', '--table=one', '--config.steps=2')
    assert status == 0 and '2 steps of 4 images' in output and log.read_text() == before
    status, output, _ = _sweep(base, f'--workdir={directory}', '--table=one', '--config.steps=3', '--pictures')
    assert status == 0 and '3 steps of 4 images' in output and 'Resuming after step 2' in log.read_text()
    path = directory / 'tables' / 'one_pictures.png'
    assert f'Pictures: {path}' in output and Image.open(path).width > 9 * 110  # of three images, their labels and predictions


def test_another_base_config_in_the_same_directory_is_refused(base, failing):
    status, _, told = _sweep(base, f'--workdir={base / "failing"}', '--table=one', '--config.optimizer.learning_rate=1.0')
    assert status == 1 and 'optimizer.learning_rate is 0.0001 in that run, 1.0 in this one' in told


def test_a_signal_is_handed_on_and_the_same_command_goes_on(base, failing):
    directory = base / 'stopped'
    process = _start(base, f'--workdir={directory}', '--table=one', '--config.steps=1000000')
    log = directory / 'runs' / 'base' / '0.log'
    began = time.monotonic()
    while not (log.exists() and '\nstep 2/' in log.read_text()):
        assert time.monotonic() - began < 60 and process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == os.EX_TEMPFAIL and '| good | not yet run |' in output
    stopped = int(re.search(r'Stopped after step (\d+), which is saved', log.read_text())[1])
    status, output, _ = _sweep(base, f'--workdir={directory}', '--table=one', f'--config.steps={stopped + 1}')
    assert status == 0 and f'{stopped + 1} steps of 4 images' in output and f'Resuming after step {stopped}' in log.read_text()


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        (['--table=three'], 1, "no table is called 'three'; the tables of tables.json are two, one, other, lost"),
        (['--table=one', '--seeds=0'], 2, '--seeds=0'),
        (['--table=one', '--jobs=none'], 2, '--jobs=none'),
        (['--table=one', '--config.seed=1'], 1, 'use --seeds for their number'),
        (
            ['--table=one', '--config.evaluators.segmentation.protocols=()'],
            1,
            'config.evaluators.segmentation.protocols is empty, and a table needs scores',
        ),
        (['--table=lost'], 1, "the row 'theirs' needs the config configs/lost_textures.py, which does not exist"),
        (
            ['--table=other', '--config.method.entropy_steps=5'],
            1,
            'configs/arl_textures.py, which a row of the table takes, does not fit the overrides of --config',
        ),
    ],
)
def test_mistakes_are_explained(tmp_path, arguments, status, message):
    found, _, told = _sweep(tmp_path, f'--workdir={tmp_path / "sweep"}', *arguments)
    assert found == status and message in told, told
