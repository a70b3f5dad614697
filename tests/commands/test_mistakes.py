"""Mistakes on the command line and in what it names: a message of one line, an exit status, and no traceback."""

import shutil

import numpy as np
import pytest
from PIL import Image

import ar_seg_jax
from tests.support import commands

TEXTURES, FOLDER = ([f'--config=configs/{name}.py'] for name in ('textures', 'folder'))


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        ([], 2, 'flag --config=None: Flag --config must have a value other than None.'),
        (
            ['--config=configs/none.py'],
            2,
            "--config: no file configs/none.py; and among those that come with the program there is no 'none', the names are ",
        ),
        (
            [*FOLDER, '--config.data.rooot=x'],
            2,
            "wrong key or value in the config: config.data: there is no 'rooot', the names are block_size, channels, data_dir, "
            "edges, labels, name, percentiles, rescale, root, skip, train_split, variant; did you mean 'root'?",
        ),
        ([*TEXTURES, '--config.steps=many'], 2, 'flag --config.steps=many: invalid literal'),
        ([*FOLDER, 'stray'], 2, "unexpected argument 'stray'; every argument is a flag such as --config=..."),
        ([*TEXTURES, '--config.model.variant=F6'], 1, "config.model.variant is one of F1, F2, F3, F4, F5; found 'F6'"),
        ([*FOLDER, '--config.data.root=/nowhere'], 1, '/nowhere: no such directory; set --config.data.root'),
        (
            [*TEXTURES, '--config.profile=9-3'],
            1,
            "--config.profile is a step or a range of steps such as '10-12', found '9-3'",
        ),
        (
            [*TEXTURES, '--config.pipeline.micro_batches=3'],
            1,
            'batch size 4 does not divide over 1 devices x 3 micro-batches; set --config.pipeline.batch_size to 3 or 6',
        ),
        ([*TEXTURES, '--distributed'], 1, 'process 0: --distributed found no other processes ('),
        (
            [*TEXTURES, '--config.epochs=2.0'],
            1,
            'set one of --config.steps and --config.epochs and leave the other 0; found 300 and 2.0',
        ),
    ],
)
def test_mistakes_on_the_command_line_are_explained_in_a_line(trained, tmp_path, arguments, status, message):
    data = commands.TINY if TEXTURES[0] in arguments else commands.SMALL_MODEL
    more = [f'--workdir={tmp_path / "run"}', *([f'--config.data.data_dir={trained.data_dir}', *data] if arguments else [])]
    done = commands.run('main', *arguments, *more)
    assert done.returncode == status and 'Traceback' not in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f'error: {message}'), done.stderr
    assert not (tmp_path / 'run' / 'config.json').exists()


def test_a_run_of_the_first_version_is_refused_by_every_command(trained, tmp_path):
    """Whose config.json is all that it has in common with today's."""
    directory, output = tmp_path / 'old', tmp_path / 'labels'
    shutil.copytree(trained.directory, directory, ignore=shutil.ignore_patterns('checkpoints', 'versions.json'))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / 'a.png')
    before = {path: path.stat().st_mtime_ns for path in directory.rglob('*')}
    for command, *arguments in (
        ('main', commands.TEXTURES, *commands.TINY, '--config.steps=6', f'--config.data.data_dir={trained.data_dir}'),
        ('evaluate',),
        ('predict', f'--input={tmp_path / "a.png"}', f'--output={output}'),
    ):
        done = commands.run(command, f'--workdir={directory}', *arguments)
        assert done.returncode == 1
        assert done.stderr == (
            f'error: {directory} holds a run of ar_seg_jax 0.1.0, which this version ({ar_seg_jax.__version__}) cannot read: to '
            'evaluate it, or predict with it, check that version out; to train, use another --workdir\n'
        )
    assert {path: path.stat().st_mtime_ns for path in directory.rglob('*')} == before and not output.exists()
