"""The page of a run, as training leaves it and as the command makes it again."""

import json
import re
import shutil

import pytest

from tests.support import auditing, commands, pages


def reported(base, *arguments):
    """`report` under an audit."""
    return auditing.audited(base, '-m', 'ar_seg_jax.report', *arguments)


@pytest.fixture(scope='module')
def left(trained):
    return pages.read((trained.directory / 'report.html').read_bytes())


@pytest.fixture
def copied(trained, tmp_path):
    directory = tmp_path / 'copied'
    shutil.copytree(trained.directory, directory)
    return directory


def test_a_training_leaves_a_page_of_its_last_step(trained, left):
    assert trained.done.stdout.splitlines()[-1] == f'Report: {trained.directory / "report.html"}'
    assert left.one('h1').text == 'Report of whole'
    names = [name.text for name in left.all('dt')]
    facts = dict(zip(names, [value.text for value in left.all('dd')], strict=True))
    assert (facts['Method'], facts['Clusters'], facts['Seed']) == ('AC', '3', '0')
    assert (facts['Trained on'], facts['Evaluated on']) == ('train (16 images)', 'val (4 images)')
    assert facts['Steps'] == '6, each of 4 crops of 32 x 32 pixels'
    assert [node.attributes['id'].removeprefix('run-') for node in left.all('section')] == [
        'facts', 'curves', 'clusters', 'images', 'scores', 'confusion',
    ]  # fmt: skip


def test_its_numbers_are_those_of_the_evaluation_and_the_records(trained, left):
    saved = json.loads((trained.directory / 'evaluations' / '000006.json').read_text())['segmentation']
    rows = pages.cells(left.one('section', id='run-clusters').one('table'))[1:]
    assert [float(row[2].removesuffix('%')) for row in rows] == pytest.approx(
        [100 * shape['share'] for shape in saved['shapes']['clusters']], abs=0.051
    )
    tables = {table.one('caption').text: pages.cells(table) for table in left.one('section', id='run-scores').all('table')}
    own = tables['Clusters against classes, one-to-one:val:val']
    assert own[0][:3] == ['name', 'accuracy', 'mean iou'] and [row[0] for row in own[1:]] == [
        entry['name'] for entry in saved['results']
    ]
    assert own[1][1] == f'{saved["results"][0]["scores"]["accuracy"]:.3f}'
    assert f'Protocol: {saved["results"][0]["in_words"]}.' in left.one('section', id='run-confusion').text
    records = [json.loads(line) for line in (trained.directory / 'metrics.jsonl').read_text().splitlines()]
    rows = pages.cells(next(left.one('section', id='run-curves').all('table')))[1:]
    assert [int(row[0]) for row in rows] == [record['step'] for record in records if record['kind'] == 'training']


def test_best_and_worst_images_are_those_of_the_split(left):
    captions = [caption.text for caption in left.one('section', id='run-images').all('figcaption')]
    found = [re.fullmatch(r'(best|median|worst), ([\d.]+)%: val_000[0-3]', caption) for caption in captions]
    assert [one[1] for one in found] == ['best', 'median', 'worst']
    shares = [float(one[2]) for one in found]
    assert shares == sorted(shares, reverse=True)


def test_the_command_makes_the_same_page_and_changes_nothing_else(trained, copied):
    (copied / 'report.html').unlink()
    audit = reported(trained.base, f'--workdir={copied}')
    assert audit.done.returncode == 0, audit.done.stderr
    assert audit.done.stdout == f'Report: {copied / "report.html"}\n'
    before = (trained.directory / 'report.html').read_text().replace('Report of whole', 'Report of copied')
    assert (copied / 'report.html').read_text() == before
    assert not audit.named('pickle', 'os.system', 'socket')
    assert not audit.changes_outside(copied / 'report.html', copied, trained.programs, trained.base / 'tmp')


def test_two_runs_side_by_side_need_a_place_of_their_own(trained, copied, tmp_path):
    both = (f'--workdir={trained.directory}', f'--workdir={copied}')
    refused = reported(trained.base, *both)
    assert refused.done.returncode == 1 and 'give --output=FILE' in refused.done.stderr
    audit = reported(trained.base, *both, f'--output={tmp_path / "both.html"}')
    assert audit.done.returncode == 0, audit.done.stderr
    found = pages.read((tmp_path / 'both.html').read_bytes())
    assert found.one('h1').text == 'Comparison of whole, copied'
    pairs = list(found.one('section', id='images').all('figure'))
    assert len(pairs) == 3 and all(len(list(pair.all('div', class_='stack'))) == 2 for pair in pairs)


def test_without_data_the_page_shows_what_the_files_tell(trained, copied):
    config = json.loads((copied / 'config.json').read_text())
    config['data']['data_dir'] = str(copied / 'nowhere')
    (copied / 'config.json').write_text(json.dumps(config))
    done = commands.run('report', f'--workdir={copied}')
    assert done.returncode == 0 and 'only what the files of the run tell is shown' in done.stderr
    found = pages.read((copied / 'report.html').read_bytes())
    assert [node.attributes['id'].removeprefix('run-') for node in found.all('section')] == [
        'facts', 'curves', 'pictures', 'scores', 'confusion',
    ]  # fmt: skip
    assert 'the data set is not prepared there' in next(found.all('p', class_='note')).text
    assert len(list(found.one('section', id='run-pictures').all('img'))) == 2


def test_what_there_is_nothing_to_tell_of_is_an_error(trained, copied, tmp_path):
    done = commands.run('report', f'--workdir={copied}', '--step=5')
    assert done.returncode == 1 and 'no checkpoint of step 5' in done.stderr
    done = commands.run('report', f'--workdir={tmp_path / "none"}')
    assert done.returncode == 1 and 'no such file' in done.stderr
    (copied / 'evaluations' / '000006.json').write_text('{"segmentation": {"results": [{}], "shapes": {}}}')
    done = commands.run('report', f'--workdir={copied}')
    assert done.returncode == 1 and '000006.json: not what an evaluation leaves' in done.stderr
    assert 'Traceback' not in done.stderr
