"""Training as a user starts it: what it tells and leaves, how it stops, and that it goes on to the very same end."""

import gzip
import json
import os
import re
import signal
import subprocess

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.runs import workdir
from tests.support import commands

PLAIN = ('--config.evaluators.segmentation.baselines=False', '--config.evaluators.probes.names=()')
WITHOUT_PICTURES = '--config.evaluation.pictures=0'


def assert_same_end(one, other, step):
    for first, second in zip(commands.leaves_of(one, step), commands.leaves_of(other, step), strict=True):
        np.testing.assert_array_equal(first, second)


def records_of(directory):
    return [json.loads(line) for line in (directory / 'metrics.jsonl').read_text().splitlines()]


def test_training_reports_scores_beside_the_baselines_with_their_protocol(trained):
    done, directory = trained.done, trained.directory
    rows = ['AC, step 6', 'untrained network', 'k-means on pixels', 'k-means on SIFT']
    for row in rows:
        assert row in done.stdout
    assert "one-to-one matching fitted on 'val', scored on 'val'" in done.stdout
    assert 'The loss is minus the mutual information of two views in nats\n' in done.stderr and 'images/s' in done.stderr
    assert re.search(r'^Method: AC, 158,723 parameters, 3 clusters$', done.stderr, re.MULTILINE)
    saved = json.loads((directory / 'evaluations' / '000006.json').read_text())
    results, probes = saved['segmentation']['results'], saved['probes']['results']
    assert [entry['name'] for entry in results] == rows
    for entry in results:
        assert entry['protocol'] == 'one-to-one:val:val' and entry['in_words'].startswith("one-to-one matching fitted on 'val'")
        assert f'{entry["name"]:30}{entry["scores"]["accuracy"]:10.4f}{entry["scores"]["mean_iou"]:10.4f}' in done.stdout
    assert sum(map(sum, results[0]['confusion'])) == 4 * 48 * 48
    assert [entry['name'] for entry in saved['segmentation']['clusters']['classes']] == ['brick', 'grass', 'gravel']
    assert saved['step'] == 6 and saved['device'] == '1 x cpu'
    assert saved['versions'].keys() == {'ar_seg_jax', 'jax', 'flax', 'optax', 'orbax-checkpoint'}
    assert [entry['name'] for entry in probes] == ['linear:features', 'non-linear:features']
    for entry in probes:
        confusion, accuracy = np.array(entry['confusion']), entry['scores']['accuracy']
        assert confusion.shape == (3, 3) and confusion.sum() == 4 * 48 * 48
        np.testing.assert_allclose(accuracy, np.trace(confusion) / confusion.sum())
        assert f'{entry["name"].replace(":", " probe of "):30}{accuracy:10.4f}' in done.stdout
        assert "'train', scored on 'val'; no matching" in entry['in_words']


def test_training_leaves_pictures_and_records(trained):
    done, directory = trained.done, trained.directory
    assert Image.open(directory / 'pictures' / '000006.png').size[1] > 4 * 48
    for name in ('000006.png', '000006-panel.png', '000006-confusion.png', 'curves.png'):
        path = directory / 'pictures' / name
        assert min(Image.open(path).size) > 3 * 48 and f'Picture: {path}' in done.stdout
    assert [record['step'] for record in records_of(directory)] == [1, 2, 3, 3, 4, 5, 6, 6]  # evaluations at 3 and 6
    assert {path.name for path in (directory / 'checkpoints').iterdir()} >= {'4', '6'}
    assert not (directory / 'damaged').exists()


def test_a_run_that_ended_is_made_longer_to_the_very_same_parameters(trained):
    directory = trained.base / 'runs' / 'halves'
    commands.train(trained.data_dir, directory, 2, *PLAIN, WITHOUT_PICTURES)
    done = commands.train(trained.data_dir, directory, 6, *PLAIN, WITHOUT_PICTURES)
    assert 'Resuming after step 2' in done.stderr
    assert_same_end(trained.directory, directory, 6)


def test_arl_stops_goes_on_to_the_very_same_centroids_and_predicts(trained):
    method = ('--config.method.width=8', '--config.method.negatives=9')
    whole, halves = trained.base / 'runs' / 'arl', trained.base / 'runs' / 'arl_halves'

    def train(directory, steps, pictures=WITHOUT_PICTURES):
        return commands.train(trained.data_dir, directory, steps, *method, *PLAIN, pictures, config='arl_textures')

    done = train(whole, 4, '--config.evaluation.pictures=1')
    assert 'ARL, step 4' in done.stdout and 'probe' not in done.stdout
    assert 'The loss is minus a bound on the mutual information of two views in nats\n' in done.stderr
    assert (whole / 'pictures' / '000004.png').exists()
    train(halves, 1)
    assert 'Resuming after step 1' in train(halves, 4).stderr
    centroids = commands.model_of(whole, 4)['extra']['centroids']
    assert centroids.shape == (3, 8) and np.abs(centroids).max() > 0
    assert_same_end(whole, halves, 4)
    image = np.random.default_rng(0).integers(0, 256, (37, 61, 3), dtype=np.uint8)
    image[:, :30] //= 8
    Image.fromarray(image).save(trained.base / 'arl.png')
    options = (f'--workdir={halves}', f'--input={trained.base / "arl.png"}', f'--output={trained.base / "arl_labels"}')
    done = commands.run('predict', *options)
    assert done.returncode == 0, done.stderr
    labels = np.array(Image.open(trained.base / 'arl_labels' / 'arl_labels.png'))
    assert labels.shape == (37, 61) and len(np.unique(labels)) > 1


@pytest.fixture(scope='module')
def unusual(trained, tmp_path_factory):
    """A run with options that are off by default, and what it told."""
    base = tmp_path_factory.mktemp('unusual')
    # Evaluations import much, and a trace holds no more than a million calls.
    more = ('--config.profile=3-9', f'--config.compilation_cache={base / "cache"}', '--config.evaluate_every=0',
            '--config.method.auxiliary_clusters=7', '--config.method.sampling=hard_loss',
            '--config.method.transformations=all', *PLAIN, WITHOUT_PICTURES)  # fmt: skip
    return base, base / 'runs' / 'unusual', commands.train(trained.data_dir, base / 'runs' / 'unusual', 4, *more)


def test_an_auxiliary_head_trains_on_hard_changed_views_and_without_pictures(unusual):
    _, directory, done = unusual
    assert 'AC, step 4' in done.stdout and 'Picture' not in done.stdout
    assert not list(directory.rglob('*.png'))
    record = records_of(directory)[0]
    assert record['step'] == 1
    assert record['loss'] == pytest.approx(-record['mutual_information'] - record['auxiliary_mutual_information'], abs=1e-5)
    shapes = [leaf.shape for leaf in commands.leaves_of(directory, 4)]
    assert (128, 7) in shapes and (128, 3) in shapes


def test_chosen_steps_are_traced_and_compiled_programs_kept(trained, unusual):
    base, directory, _ = unusual
    (trace,) = (directory / 'tensorboard').rglob('*.trace.json.gz')
    names = {event.get('args', {}).get('step_num') for event in json.loads(gzip.decompress(trace.read_bytes()))['traceEvents']}
    assert {'3', '4'} <= names and '1' not in names and '2' not in names
    assert list((base / 'cache').iterdir())
    assert list(trained.programs.glob('jax-*/*'))  # where nobody chooses another place


def _first(process, beginning):
    """Waits for a line of a running process; its output so far."""
    told = ''
    for line in process.stderr:
        told += line
        if line.startswith(beginning):
            return told
    raise AssertionError(told)


def test_a_signal_saves_and_the_same_command_goes_on_to_the_very_same_end(trained):
    """A run that is stopped twice, in one way and in the other."""
    directory, whole = trained.base / 'runs' / 'stopped', trained.base / 'runs' / 'not_stopped'
    fixed = (commands.TEXTURES, f'--config.data.data_dir={trained.data_dir}', f'--workdir={directory}', *commands.TINY)
    line = commands.line('main', *fixed, '--config.checkpoint_every=0', '--config.steps=1000000')
    options = {'cwd': commands.ROOT, 'env': commands.environment(), 'text': True}
    saved = []
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        begun = _first(process, f'step {max(saved, default=0) + 3}/')
        assert not saved or f'Resuming after step {saved[-1]}' in begun
        process.send_signal(number)
        told = process.communicate(timeout=60)[1]
        assert process.returncode == os.EX_TEMPFAIL and f'{number.name}: finishing the step' in told, told
        saved.append(int(re.search(r'Stopped after step (\d+), which is saved in', told)[1]))
        assert {path.name for path in (directory / 'checkpoints').iterdir() if path.name.isdigit()} == set(map(str, saved))
    more = saved[-1] + 2
    for run in (directory, whole):
        commands.train(trained.data_dir, run, more, *PLAIN, WITHOUT_PICTURES)
    assert_same_end(whole, directory, more)
    times = ('images_per_second', 'data_wait_share', 'seconds_left', 'peak_bytes')
    one, other = (
        [{key: value for key, value in record.items() if key not in times} for record in records_of(run)]
        for run in (directory, whole)
    )
    assert one == other


def test_a_signal_after_the_last_line_does_not_end_a_run_as_if_something_were_missing(trained):
    fixed = (commands.TEXTURES, f'--config.data.data_dir={trained.data_dir}', f'--workdir={trained.base / "runs" / "ended"}')
    line = commands.line('main', *fixed, *commands.TINY, *PLAIN, WITHOUT_PICTURES, '--config.steps=1')
    options = {'cwd': commands.ROOT, 'env': commands.environment(PYTHONUNBUFFERED='1'), 'text': True}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options) as process:
        assert any(told.startswith('Numbers, and the class of each cluster') for told in process.stdout)
        process.terminate()
    assert process.returncode in (0, os.EX_TEMPFAIL)


def test_a_folder_without_labels_trains_and_predicts_clusters_with_numbers(tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    for index in range(4):
        image = np.random.default_rng(index).integers(0, 256, (80, 100, 3), dtype=np.uint8)
        image[:, :50] //= 16  # dark and bright, so that even a hardly trained network tells two clusters apart
        Image.fromarray(image).save(folder / f'{index}.png')
    arguments = ('--config=folder', f'--config.data.root={folder}', f'--config.data.data_dir={tmp_path / "tfds"}',
                 '--config.data.rescale=0.5', '--config.data.block_size=32', '--config.steps=1', f'--workdir={tmp_path / "run"}',
                 '--config.method.num_clusters=16', *commands.SMALL_MODEL)  # fmt: skip
    done = commands.run('main', *arguments)
    assert done.returncode == 0 and 'The data has no labels' in done.stdout, done.stderr
    assert "Shapes of clusters on 'train' (share, thinness, border share): " in done.stdout
    saved = json.loads((tmp_path / 'run' / 'evaluations' / '000001.json').read_text())
    clusters = saved['segmentation']['shapes']['clusters']
    assert len(clusters) == 16 and sum(entry['share'] for entry in clusters) == pytest.approx(1)
    assert (tmp_path / 'run' / 'pictures' / '000001.png').exists()
    options = (f'--workdir={tmp_path / "run"}', f'--input={folder / "0.png"}', f'--output={tmp_path / "out"}')
    done = commands.run('predict', *options)
    assert done.returncode == 0 and 'numbers instead of names' in done.stderr, done.stderr
    labels = np.array(Image.open(tmp_path / 'out' / '0_labels.png'))
    # found at the scale of the training, given at that of the image
    np.testing.assert_array_equal(labels, labels[::2, ::2].repeat(2, 0).repeat(2, 1))
    assert labels.shape == (80, 100) and len(np.unique(labels)) > 1


def test_a_second_run_in_the_directory_of_a_living_one_is_refused(trained):
    with workdir.claim(trained.directory):
        fixed = (commands.TEXTURES, f'--config.data.data_dir={trained.data_dir}', f'--workdir={trained.directory}')
        done = commands.run('main', *fixed, *commands.TINY, '--config.steps=6')
    assert done.returncode == 1 and f'is in use by process {os.getpid()} on ' in done.stderr


def test_another_config_in_the_same_directory_is_refused(trained):
    fixed = (commands.TEXTURES, f'--config.data.data_dir={trained.data_dir}', f'--workdir={trained.directory}')
    done = commands.run('main', *fixed, *commands.TINY, '--config.steps=6', '--config.optimizer.learning_rate=1.0')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'optimizer.learning_rate is 0.0001 in that run, 1.0 in this one. Use another --workdir' in done.stderr
