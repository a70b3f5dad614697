"""The three commands as a user types them, on real photographs and a model small enough for a test."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax import workdir

ROOT = Path(__file__).parents[1]
TINY = (
    '--config.data.size=48',
    '--config.data.train_count=16',
    '--config.data.val_count=4',
    '--config.pipeline.crop_size=32',
    '--config.pipeline.batch_size=4',
    '--config.evaluation.batch_size=4',
    '--config.evaluation.probe_steps=3',
    '--config.model.blocks=1',
    '--config.evaluate_every=3',
    '--config.checkpoint_every=2',
    '--config.log_every=1',
)


def _environment():
    # Compiles in half the time; tests/test_kills.py runs what users run, which is slower to compile.
    return os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': '--xla_backend_optimization_level=0'}


def _run(command, *arguments):
    line = [sys.executable, '-m', f'ar_seg_jax.{command}', *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=300)


def _train(data_dir, directory, steps, *more, config='configs/textures.py'):
    fixed = (f'--config={config}', f'--config.data.data_dir={data_dir}', f'--config.steps={steps}', f'--workdir={directory}')
    done = _run('main', *fixed, *TINY, *more)
    assert done.returncode == 0, done.stderr
    return done


def _leaves(directory, step):
    """The arrays of a checkpoint, through Orbax alone."""
    import jax
    import orbax.checkpoint as ocp

    manager = ocp.CheckpointManager(directory / 'checkpoints')
    state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore()))['state']
    return [np.asarray(leaf) for leaf in jax.tree.leaves({'params': state['params'], 'extra': state['extra']})]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run of 6 steps, and its output."""
    base = tmp_path_factory.mktemp('run')
    return base, base / 'whole', _train(base / 'tfds', base / 'whole', 6)


def test_training_reports_scores_beside_the_baselines_with_their_protocol(trained):
    _, directory, done = trained
    rows = ['AC, step 6', 'untrained network', 'k-means on pixels', 'k-means on SIFT']
    for row in rows:
        assert row in done.stdout
    assert "one-to-one matching fitted on 'val', scored on 'val'" in done.stdout
    assert 'minus the mutual information' in done.stderr and 'images/s' in done.stderr
    saved = json.loads((directory / 'evaluations' / '000006.json').read_text())
    assert [entry['method'] for entry in saved['results']] == rows
    assert sum(map(sum, saved['results'][0]['confusion'])) == 4 * 48 * 48
    assert [entry['name'] for entry in saved['clusters']['classes']] == ['brick', 'grass', 'gravel']
    assert saved['device'] == '1 x cpu'
    assert [entry['probe'] for entry in saved['probes']] == ['linear:features', 'non-linear:features']
    for entry in saved['probes']:
        confusion = np.array(entry['confusion'])
        assert confusion.shape == (3, 3) and confusion.sum() == 4 * 48 * 48
        np.testing.assert_allclose(entry['accuracy'], np.trace(confusion) / confusion.sum())
        assert f'{entry["probe"].replace(":", " probe of "):30}{entry["accuracy"]:10.4f}' in done.stdout
        assert "'train', scored on 'val'; no matching" in entry['in_words']
    assert Image.open(directory / 'pictures' / '000006.png').size[1] > 4 * 48
    for name in ('000006.png', '000006-panel.png', '000006-confusion.png', 'curves.png'):
        assert (
            min(Image.open(directory / 'pictures' / name).size) > 3 * 48
            and f'Picture: {directory / "pictures" / name}' in done.stdout
        )
    steps = [json.loads(line)['step'] for line in (directory / 'metrics.jsonl').read_text().splitlines()]
    assert steps == [1, 2, 3, 3, 4, 5, 6, 6]  # evaluations at 3 and 6


def test_a_run_that_stopped_goes_on_to_the_very_same_parameters(trained):
    base, whole, _ = trained
    _train(base / 'tfds', base / 'halves', 2, '--config.evaluation.baselines=False')
    done = _train(base / 'tfds', base / 'halves', 6, '--config.evaluation.baselines=False')
    assert 'Resuming after step 2' in done.stderr
    for one, two in zip(_leaves(whole, 6), _leaves(base / 'halves', 6), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_untrained_network_of_a_run_and_chosen_probes_are_evaluated_on_their_own(trained):
    _, directory, _ = trained
    done = _run('evaluate', f'--workdir={directory}', '--step=0', '--probes=linear:logits')
    assert done.returncode == 0 and 'AC, step 0' in done.stdout and 'k-means' not in done.stdout, done.stderr
    saved, after = (json.loads((directory / 'evaluations' / f'{step:06d}.json').read_text()) for step in (0, 6))
    (own,) = saved['results']
    (beside,) = (entry for entry in after['results'] if entry['method'] == 'untrained network')
    assert own['confusion'] == beside['confusion'] != after['results'][0]['confusion']
    assert [entry['probe'] for entry in saved['probes']] == ['linear:logits']
    assert (directory / 'pictures' / '000000-panel.png').exists()
    wrong = _run('evaluate', f'--workdir={directory}', '--probes=linear:scores')
    assert wrong.returncode == 1 and "a tap of features, logits; found 'linear:scores'" in wrong.stderr
    assert 'config.json' not in wrong.stderr and 'Traceback' not in wrong.stderr, wrong.stderr


def test_arl_stops_goes_on_to_the_very_same_centroids_and_predicts(trained):
    base, _, _ = trained
    more = ('--config.method.name=arl', '--config.arl.width=8', '--config.arl.negatives=9', '--config.evaluation.baselines=False',
            '--config.evaluation.probes=()', '--config.evaluation.pictures=1')  # fmt: skip
    whole, halves = base / 'arl', base / 'arl_halves'
    done = _train(base / 'tfds', whole, 4, *more)
    assert 'ARL, step 4' in done.stdout and 'probe' not in done.stdout
    _train(base / 'tfds', halves, 1, *more)
    assert 'Resuming after step 1' in _train(base / 'tfds', halves, 4, *more).stderr
    centroids = [leaf for leaf in _leaves(whole, 4) if leaf.shape == (3, 8)]
    assert len(centroids) == 1 and np.abs(centroids[0]).max() > 0
    for one, two in zip(_leaves(whole, 4), _leaves(halves, 4), strict=True):
        np.testing.assert_array_equal(one, two)
    image = np.random.default_rng(0).integers(0, 256, (37, 61, 3), dtype=np.uint8)
    image[:, :30] //= 8
    Image.fromarray(image).save(base / 'arl.png')
    done = _run('predict', f'--workdir={halves}', f'--input={base / "arl.png"}', f'--output={base / "arl_labels"}')
    assert done.returncode == 0, done.stderr
    labels = np.array(Image.open(base / 'arl_labels' / 'arl_labels.png'))
    assert labels.shape == (37, 61) and len(np.unique(labels)) > 1


def test_an_auxiliary_head_trains_on_hard_changed_views_and_without_pictures(trained):
    base, _, _ = trained
    done = _train(base / 'tfds', base / 'auxiliary', 1, '--config.model.auxiliary_clusters=7', '--config.evaluation.pictures=0',
                  '--config.method.sampling=hard_loss', '--config.method.transformations=all', '--config.evaluation.probes=()',
                  '--config.evaluation.baselines=False')  # fmt: skip
    assert 'AC, step 1' in done.stdout and 'Picture' not in done.stdout
    assert not list((base / 'auxiliary').rglob('*.png'))
    (record, *_) = map(json.loads, (base / 'auxiliary' / 'metrics.jsonl').read_text().splitlines())
    assert record['loss'] == pytest.approx(-record['mutual_information'] - record['auxiliary_mutual_information'], abs=1e-5)
    shapes = [leaf.shape for leaf in _leaves(base / 'auxiliary', 1)]
    assert (128, 7) in shapes and (128, 3) in shapes


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
    base, *_ = trained
    directory, whole = base / 'stopped', base / 'not_stopped'
    fixed = ('--config=configs/textures.py', f'--config.data.data_dir={base / "tfds"}', f'--workdir={directory}', *TINY)
    line = [sys.executable, '-m', 'ar_seg_jax.main', *fixed, '--config.checkpoint_every=0', '--config.steps=1000000']
    saved = []
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen(line, cwd=ROOT, env=_environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        begun = _first(process, f'step {max(saved, default=0) + 3}/')
        assert not saved or f'Resuming after step {saved[-1]}' in begun
        process.send_signal(number)
        told = process.communicate(timeout=60)[1]
        assert process.returncode == os.EX_TEMPFAIL and f'{number.name}: finishing the step' in told, told
        saved.append(int(re.search(r'Stopped after step (\d+), which is saved in', told)[1]))
        assert {path.name for path in (directory / 'checkpoints').iterdir() if path.name.isdigit()} == set(map(str, saved))
    more = saved[-1] + 2
    for run in (directory, whole):
        done = _run(
            'main', *fixed[:2], f'--workdir={run}', *TINY, f'--config.steps={more}', '--config.evaluation.baselines=False'
        )
        assert done.returncode == 0, done.stderr
    for one, two in zip(_leaves(whole, more), _leaves(directory, more), strict=True):
        np.testing.assert_array_equal(one, two)
    times = ('images_per_second', 'data_wait_share', 'seconds_left')
    records = [
        [
            {key: value for key, value in json.loads(line).items() if key not in times}
            for line in (run / 'metrics.jsonl').read_text().splitlines()
        ]
        for run in (directory, whole)
    ]
    assert records[0] == records[1]


def test_a_second_run_in_the_directory_of_a_living_one_is_refused(trained):
    base, directory, _ = trained
    lock = workdir.claim(directory)
    fixed = ('--config=configs/textures.py', f'--config.data.data_dir={base / "tfds"}', f'--workdir={directory}')
    done = _run('main', *fixed, *TINY, '--config.steps=6')
    lock.close()
    assert done.returncode == 1 and f'is in use by process {os.getpid()} on ' in done.stderr


def test_chosen_steps_are_traced_and_compiled_programs_kept(trained, tmp_path):
    base, _, _ = trained
    # Evaluations import much, and a trace holds no more than a million calls.
    more = ('--config.profile=3-9', f'--config.compilation_cache={tmp_path / "cache"}', '--config.evaluation.baselines=False',
            '--config.evaluate_every=0', '--config.evaluation.pictures=0', '--config.evaluation.probes=()')  # fmt: skip
    _train(base / 'tfds', tmp_path / 'traced', 4, *more)
    (trace,) = (tmp_path / 'traced' / 'tensorboard').rglob('*.trace.json.gz')
    names = {event.get('args', {}).get('step_num') for event in json.loads(gzip.decompress(trace.read_bytes()))['traceEvents']}
    assert {'3', '4'} <= names and '1' not in names and '2' not in names
    assert list((tmp_path / 'cache').iterdir()) and (base / '.compilation_cache').is_dir()
    assert not (tmp_path / '.compilation_cache').exists()


def test_another_config_in_the_same_directory_is_refused(trained):
    base, directory, _ = trained
    fixed = ('--config=configs/textures.py', f'--config.data.data_dir={base / "tfds"}', f'--workdir={directory}')
    done = _run('main', *fixed, *TINY, '--config.steps=6', '--config.learning_rate=1.0')
    assert (
        done.returncode == 1
        and 'learning_rate is 0.0001 in that run, 1.0 in this one' in done.stderr
        and 'Traceback' not in done.stderr
    )


def test_evaluation_of_a_checkpoint_gives_the_score_of_training(trained):
    _, directory, done = trained
    again = _run('evaluate', f'--workdir={directory}')
    assert again.returncode == 0, again.stderr
    assert [line for line in again.stdout.splitlines() if 'AC' in line] == [
        line for line in done.stdout.splitlines() if 'AC' in line
    ]
    missing = _run('evaluate', f'--workdir={directory}', '--step=5')
    assert missing.returncode == 1 and 'no checkpoint of step 5; the steps are 4, 6' in missing.stderr


def test_prediction_writes_label_maps_and_goes_on_past_a_bad_file(trained):
    base, directory, _ = trained
    images, output = base / 'images', base / 'labels'
    (images / 'deeper').mkdir(parents=True)
    rng = np.random.default_rng(0)
    sizes = {'a.png': (37, 61), 'deeper/b.jpg': (50, 33)}
    for name, size in sizes.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(images / name)
    (images / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\nnot really')
    done = _run('predict', f'--workdir={directory}', f'--input={images}', f'--output={output}')
    assert done.returncode == 1 and 'broken.png' in done.stderr and 'Traceback' not in done.stderr
    assert '2 label maps' in done.stderr and '1 files could not be read' in done.stderr
    for name, size in sizes.items():
        label = Image.open(output / Path(name).with_suffix('').parent / f'{Path(name).stem}_labels.png')
        assert label.mode == 'P' and label.size == size[::-1] and set(np.unique(label)) <= {0, 1, 2}
        assert Image.open(output / Path(name).parent / f'{Path(name).stem}_overlay.png').size == size[::-1]
    assert [entry['name'] for entry in json.loads((output / 'classes.json').read_text())['classes']] == [
        'brick',
        'grass',
        'gravel',
    ]
    inside = _run('predict', f'--workdir={directory}', f'--input={images}', f'--output={images / "out"}')
    assert inside.returncode == 1 and 'lies inside --input' in inside.stderr


def test_a_folder_without_labels_trains_and_predicts_clusters_with_numbers(tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    for index in range(4):
        image = np.random.default_rng(index).integers(0, 256, (80, 100, 3), dtype=np.uint8)
        image[:, :50] //= 16  # dark and bright, so that even a hardly trained network tells two clusters apart
        Image.fromarray(image).save(folder / f'{index}.png')
    arguments = ['--config=configs/folder.py', f'--config.data.root={folder}', f'--config.data.data_dir={tmp_path / "tfds"}',
                 '--config.data.rescale=0.5', '--config.data.block_size=32', '--config.steps=1', f'--workdir={tmp_path / "run"}',
                 '--config.model.num_clusters=16', *TINY[3:]]  # fmt: skip
    done = _run('main', *arguments)
    assert done.returncode == 0 and 'The data has no labels' in done.stdout, done.stderr
    assert (tmp_path / 'run' / 'pictures' / '000001.png').exists()
    done = _run('predict', f'--workdir={tmp_path / "run"}', f'--input={folder / "0.png"}', f'--output={tmp_path / "out"}')
    assert done.returncode == 0 and 'numbers instead of names' in done.stderr, done.stderr
    labels = np.array(Image.open(tmp_path / 'out' / '0_labels.png'))
    # found at the scale of the training, given at that of the image
    np.testing.assert_array_equal(labels, labels[::2, ::2].repeat(2, 0).repeat(2, 1))
    assert labels.shape == (80, 100) and len(np.unique(labels)) > 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--config=configs/folder.py', '--config.data.rooot=x'], 'Did you mean "root" instead of "rooot"'),
        (['--config=configs/none.py'], 'configs/none.py'),
        ([], 'config'),
        (['--config=configs/folder.py', 'stray'], "unexpected argument 'stray'"),
        (['--config=configs/folder.py', '--config.data.root=/nowhere'], '/nowhere: no such directory; set --config.data.root'),
        (['--config=configs/textures.py', '--config.profile=9-3'], "a range of steps such as '10-12', found '9-3'"),
        (
            ['--config=configs/textures.py', '--config.pipeline.micro_batches=3'],
            '1 devices x 3 micro-batches; use a multiple of 3',
        ),
        (['--config=configs/textures.py', '--distributed'], '--distributed found no other processes'),
        (['--config=configs/textures.py', '--config.epochs=2.0'], 'set one of --config.steps and --config.epochs'),
    ],
)
def test_mistakes_on_the_command_line_are_explained_without_a_traceback(tmp_path, arguments, message):
    more = [f'--workdir={tmp_path / "run"}', *([f'--config.data.data_dir={tmp_path}'] if len(arguments) > 1 else [])]
    done = _run('main', *arguments, *more)
    assert done.returncode in (1, 2) and message in done.stderr and 'Traceback' not in done.stderr, done.stderr
