"""`explore` on a small folder: runs, the page, going on, and what it refuses."""

import numpy as np
import pytest
from PIL import Image

from tests.support import commands, pages

SMALL = (
    '--config.data.rescale=1.0', '--config.data.block_size=32', '--config.pipeline.crop_size=32',
    '--config.pipeline.batch_size=2', '--config.steps=3', '--config.evaluation.batch_size=2', '--config.evaluation.pictures=0',
)  # fmt: skip


@pytest.fixture
def photographs(tmp_path):
    (tmp_path / 'photographs').mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        image = rng.integers(0, 60, (32, 32, 3)) + np.array([[[0, 60, 120]]])
        image[8:20, 8:24] += 60
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / 'photographs' / f'{number}.png')
    return tmp_path / 'photographs'


def _explore(tmp_path, root, *more):
    place = (f'--root={root}', f'--workdir={tmp_path / "explored"}', f'--config.data.data_dir={tmp_path / "tfds"}')
    return commands.run('explore', *place, *SMALL, *more)


def test_runs_of_each_number_are_ranked_shown_side_by_side_and_gone_on_with(photographs, tmp_path):
    done = _explore(tmp_path, photographs, '--clusters=2,3', '--seeds=1')
    assert done.returncode == 0, done.stderr
    assert '2 of 2: clusters_3_seed_0; 0:0' in done.stderr and 'in all' in done.stderr
    table = (tmp_path / 'explored' / 'explore.md').read_text()
    assert table in done.stdout and '| clusters_2_seed_0 |' in table and '| clusters_3_seed_0 |' in table
    page = pages.read((tmp_path / 'explored' / 'explore.html').read_bytes())
    rows = {row[0]: row[1:] for row in pages.cells(page.one('section', id='facts').one('table'))}
    assert rows['Clusters'] == ['2', '3'] and all(value.endswith(' of 2') for value in rows['mean rank without labels'])
    again = _explore(tmp_path, photographs, '--clusters=2,3', '--seeds=2', '--minutes=0.0001')
    assert again.returncode == 0 and '1 of 2: clusters_2_seed_1; ' in again.stderr
    assert '1 runs are left out: they do not fit into --minutes=0.0001' in again.stderr


def test_what_cannot_be_explored_is_explained(photographs, tmp_path):
    for more, message in (
        (('--clusters=2,x',), '--clusters are different numbers from 2 to 254, such as 2,3,5; found 2,x'),
        (('--config.seed=3',), '--config.seed is set by explore: give --seeds, --clusters and --root'),
        (('--clusters=3', '--seeds=1'), 'one run cannot be compared with others: give more numbers of --clusters'),
        (('--clusters=2,3', '--config.data.rescale=0.0'), 'clusters_2_seed_0 ended with status '),
    ):
        done = _explore(tmp_path, photographs, *more)
        assert done.returncode == 1 and message in done.stderr and 'Traceback' not in done.stderr, done.stderr
