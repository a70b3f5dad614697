"""The commands of README.md and of docs/: their flags and configs exist, and tests run those that do not say that none does."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.support import commands, documents
from tests.support.commands import ROOT

FOUND = {page: list(documents.commands(page)) for page in documents.PAGES}
RUN = sorted({found for page in FOUND.values() for found in page if not found.not_run})

# What `test_the_first_commands_of_a_reader_...` runs, in this order.
OF_A_READER = (
    'launch/local.sh --config configs/mixture_folder.py --config.data.root=/path/to/images --config.method.num_clusters=4 '
    '--workdir runs/mine',
    '.venv/bin/python -m ar_seg_jax.predict --workdir runs/mine --input /path/to/images --output /path/to/labels',
)
LESS = ('--config.steps=2', '--config.data.block_size=0', '--config.pipeline.crop_size=16', '--config.pipeline.batch_size=4',
        '--config.evaluation.batch_size=4', '--config.evaluation.pictures=0', '--config.compilation_cache=none')  # fmt: skip
# Where all others are run, with other data: by a test that starts the same program and has all its flags, or here.
TESTS = {path: path.read_text() for path in (ROOT / 'tests').rglob('*.py') if path.parent.name != 'docs'}
ELSEWHERE = {'launch/test.sh': '.ci/run', 'mkdocs': 'tests/docs/test_site.py', 'ruff': '.ci/run'}


def _sources(module):
    """Of what runs a program."""
    if module in ELSEWHERE:
        return [(ROOT / ELSEWHERE[module]).read_text()]
    started = re.compile(rf"(?:run|command)\(\s*'{module.removeprefix('ar_seg_jax.')}'|'{re.escape(module)}'")
    return [text for text in TESTS.values() if started.search(text)]


def _told(programs):
    """What each program says of its arguments, see `tests.support.parsing`."""
    line = [sys.executable, '-m', 'tests.support.parsing']
    options = {'cwd': ROOT, 'env': commands.environment(), 'capture_output': True, 'text': True, 'timeout': 300}
    done = subprocess.run(line, input=json.dumps(programs), **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_programs_take_the_flags_that_pages_give_them_and_configs_have_the_keys():
    texts = [found for page in FOUND for found in (*FOUND[page], *documents.named(page))]
    programs = [found.program for found in texts if found.program and found.program[0].startswith('ar_seg_jax.')]
    assert len(programs) > 40
    assert not [(program, told) for program, told in zip(programs, _told(programs), strict=True) if told]


def test_a_flag_a_key_and_a_config_that_are_not_there_would_be_told():
    programs = [('ar_seg_jax.predict', ['--workdir=a', '--input=a', '--output=a', '--split=test']),
                ('ar_seg_jax.main', ['--config=configs/textures.py', '--config.stepps=3']),
                ('ar_seg_jax.main', ['--config=configs/texture.py'])]  # fmt: skip
    for told, expected in zip(_told(programs), ("'split'", "'stepps'", 'texture'), strict=True):
        assert expected in told


def test_benchmarks_that_pages_name_are_there():
    modules = {found.program[0] for page in FOUND.values() for found in page if found.program}
    named = [module for module in modules if module.startswith('benchmarks.')]
    assert len(named) > 10 and all((ROOT / f'{module.replace(".", "/")}.py').exists() for module in named)


@pytest.mark.parametrize('found', RUN, ids=lambda found: ' '.join(found.text.split())[:60])
def test_a_command_that_is_not_said_to_be_left_out_is_run_by_a_test(found):
    if found.program in [documents.Command(text, False).program for text in OF_A_READER]:
        return
    text = re.sub(r'\[--[^]]*\]', '', found.text)  # without what is optional
    module = found.program[0] if found.program else text.split()[0]
    flags = re.findall(r'--[a-z_-]+(?![\w.-])', text)
    config = re.search(r'--config (?:configs/)?(\w+)', text)
    wanted = [*flags, f'{config[1]}.py'] if config else flags
    run = any(all(word in source for word in wanted) for source in _sources(module))
    assert run, f'no test runs {found.text!r}: end it with "# no test runs this", or let a test run it'


def test_the_first_commands_of_a_reader_make_label_maps_of_their_images(tmp_path):
    rng = np.random.default_rng(0)
    images = tmp_path / 'images'
    images.mkdir()
    for index in range(6):
        colours = rng.integers(0, 256, (2, 2, 3), np.uint8).repeat(32, 0).repeat(32, 1)
        Image.fromarray(colours ^ rng.integers(0, 8, colours.shape, np.uint8)).save(images / f'{index}.png')
    train, predict = (
        documents.Command(text.replace('/path/to', str(tmp_path)).replace('runs/', f'{tmp_path}/runs/'), False).program
        for text in OF_A_READER
    )
    for module, arguments in ((train[0], [*train[1], *LESS, f'--config.data.data_dir={tmp_path / "data"}']), predict):
        done = commands.run(module.removeprefix('ar_seg_jax.'), *arguments)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / 'runs' / 'mine' / 'data.json').exists()
    for index in range(6):
        labels = np.array(Image.open(tmp_path / 'labels' / f'{index}_labels.png'))
        assert labels.shape == (64, 64) and labels.max() < 4
    assert len(np.unique(labels)) > 1
