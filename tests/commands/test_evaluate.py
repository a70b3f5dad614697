"""Evaluation of a run as a user starts it, also of one that comes from elsewhere."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy import optimize

from tests.support import auditing, commands


def evaluated(base, directory, *arguments):
    """`evaluate` under an audit."""
    return auditing.audited(base, '-m', 'ar_seg_jax.evaluate', f'--workdir={directory}', *arguments)


def altered(directory, **changes):
    """Replaces keys 'part__key' of the saved config."""
    path = directory / 'config.json'
    config = json.loads(path.read_text())
    for key, value in changes.items():
        *parts, last = key.split('__')
        target = config
        for part in parts:
            target = target[part]
        target[last] = value
    path.write_text(json.dumps(config))


@pytest.fixture(scope='module')
def elsewhere(trained):
    """A copy of the run, whose config keeps compiled programs where an evaluation should not write; and that place."""
    directory, outside = trained.base / 'runs' / 'elsewhere', trained.base / 'outside'
    shutil.copytree(trained.directory, directory)
    altered(directory, compilation_cache=str(outside / 'cache'))
    return directory, outside


def test_evaluation_of_a_checkpoint_gives_the_scores_of_training_and_writes_beside_them_only(trained, elsewhere):
    directory, outside = elsewhere
    shutil.rmtree(directory / 'evaluations')
    audit = evaluated(trained.base, directory)
    assert audit.done.returncode == 0, audit.done.stderr
    lines, expected = ([line for line in done.stdout.splitlines() if 'AC' in line] for done in (audit.done, trained.done))
    assert lines == expected != []
    path = 'evaluations/000006.json'
    assert json.loads((directory / path).read_text()) == json.loads((trained.directory / path).read_text())
    assert not audit.named('pickle', 'os.system', 'socket')
    assert not audit.changes_outside(directory, trained.programs, trained.base / 'tmp')
    assert not outside.exists()


def test_another_split_is_scored_beside_and_data_prepared_and_links_followed_only_where_they_may_be(trained, elsewhere):
    directory, outside = elsewhere
    altered(directory, data__data_dir=str(outside / 'data'))
    altered(directory, evaluators__segmentation__baselines=False, evaluators__probes__names=[])  # no matter here
    audit = evaluated(trained.base, directory)
    assert audit.done.returncode == 1 and 'give --data_dir=DIR to prepare it in DIR' in audit.done.stderr
    own = (directory / 'evaluations' / '000006.json').read_text()
    audit = evaluated(trained.base, directory, f'--data_dir={trained.data_dir}', '--split=train')
    assert audit.done.returncode == 0, audit.done.stderr
    assert "fitted on 'train', scored on 'train'" in audit.done.stdout
    of_train = json.loads((directory / 'evaluations' / '000006-train.json').read_text())['segmentation']['results'][0]
    of_own = json.loads(own)['segmentation']['results'][0]
    assert of_train['name'] == of_own['name'] and of_train['confusion'] != of_own['confusion']
    assert (directory / 'evaluations' / '000006.json').read_text() == own
    assert (directory / 'pictures' / '000006-train-panel.png').exists()
    shutil.rmtree(directory / 'pictures')
    (directory / 'pictures').symlink_to(outside)
    audit = evaluated(trained.base, directory, f'--data_dir={trained.data_dir}')
    assert audit.done.returncode == 1 and f'pictures is a link to {outside}, outside of the run' in audit.done.stderr
    assert not outside.exists()


def test_the_untrained_network_of_a_run_and_chosen_probes_are_evaluated_on_their_own(trained):
    directory = trained.base / 'runs' / 'untrained'
    shutil.copytree(trained.directory, directory)
    done = commands.run('evaluate', f'--workdir={directory}', '--step=0', '--probes=linear:logits')
    assert done.returncode == 0 and 'AC, step 0' in done.stdout and 'k-means' not in done.stdout, done.stderr
    saved, after = (json.loads((directory / 'evaluations' / f'{step:06d}.json').read_text()) for step in (0, 6))
    (own,), results = saved['segmentation']['results'], after['segmentation']['results']
    (beside,) = (entry for entry in results if entry['name'] == 'untrained network')
    assert own['confusion'] == beside['confusion'] != results[0]['confusion']
    assert [entry['name'] for entry in saved['probes']['results']] == ['linear:logits']
    assert (directory / 'pictures' / '000000-panel.png').exists()


def test_names_of_a_person_are_scored_beside_what_was_matched_and_predicted(trained, tmp_path):
    directory = trained.base / 'runs' / 'named'
    shutil.copytree(trained.directory, directory)
    (directory / 'names.json').write_text('{"step": 6, "names": {"0": "gravel", "1": "gravel", "2": null}}')
    done = commands.run('evaluate', f'--workdir={directory}', '--probes=')
    assert done.returncode == 0 and "clusters named by a person, scored on 'val'" in done.stdout, done.stderr
    saved = json.loads((directory / 'evaluations' / '000006.json').read_text())['segmentation']
    matched, named = (entry for entry in saved['results'] if entry['name'] == 'AC, step 6')
    assert named['protocol'] == 'names:val' and named['confusion'] == matched['confusion']
    pixels = np.array(named['confusion'])
    assert named['scores']['accuracy'] == pytest.approx(pixels[:2, 2].sum() / pixels.sum())
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / 'a.png')
    labels = {}
    for names in ('names.json', 'other.json'):
        (directory / 'other.json').write_text('{"names": {"0": "a", "1": "b", "2": "a"}}')
        options = (f'--input={tmp_path / "a.png"}', f'--output={tmp_path / names}', f'--names={directory / names}')
        done = commands.run('predict', f'--workdir={directory}', *options[: 2 if names == 'names.json' else 3])
        assert done.returncode == 0, done.stderr
        classes = json.loads((tmp_path / names / 'classes.json').read_text())['classes']
        labels[names] = [entry['name'] for entry in classes], np.array(Image.open(tmp_path / names / 'a_labels.png'))
    assert labels['names.json'][0] == ['brick', 'grass', 'gravel'] and set(np.unique(labels['names.json'][1])) <= {2, 255}
    assert labels['other.json'][0] == ['brick', 'grass', 'gravel', 'a', 'b'] and set(np.unique(labels['other.json'][1])) <= {3, 4}


def test_what_cannot_be_evaluated_is_explained_in_a_line(trained):
    for arguments, message in (
        (['--probes=linear:scores'], "a tap of features, logits; found 'linear:scores'"),
        (['--step=5'], 'checkpoints: no checkpoint of step 5; the steps are 4, 6'),
    ):
        done = commands.run('evaluate', f'--workdir={trained.directory}', *arguments)
        assert done.returncode == 1 and done.stderr.endswith(f'{message}\n'), done.stderr
        assert 'config.json' not in done.stderr and 'Traceback' not in done.stderr


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Five images in two splits, of which one has no label map, in the layout of data/folder.py; sizes differ."""
    root = tmp_path_factory.mktemp('mine') / 'my images'
    rng = np.random.default_rng(0)
    for index, name in enumerate('abcde'):
        label = rng.integers(0, 3, (4, 5 + index)).astype(np.uint8).repeat(12, 0).repeat(12, 1)
        image = np.uint8(40 + 70 * label[..., None] + rng.integers(0, 40, (*label.shape, 3)))
        for directory, array in (('images', image), ('labels', label)):
            (root / directory).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / directory / f'{name}.png')
    (root / 'labels' / 'e.png').unlink()
    (root / 'splits.csv').write_text('id,split\na,train\nb,val\nc,val\nd,val\ne,val\n')
    names = ('grass', 'gravel', 'brick')  # of the run, in another order
    (root / 'classes.json').write_text(json.dumps({'classes': [{'id': key, 'name': name} for key, name in enumerate(names)]}))
    return root


def _state(directory):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.rglob('*') if path.is_file()}


def test_another_folder_is_scored_beside_the_run_as_its_predictions_would_be(trained, folder, tmp_path):
    """With the classes that the run stored, as `score` has it of what `predict` writes; and with new ones."""
    directory = tmp_path / 'run'
    shutil.copytree(trained.directory, directory)
    before = _state(directory)
    audit = evaluated(tmp_path, directory, f'--root={folder}', '--match=saved')
    assert audit.done.returncode == 0, audit.done.stderr
    saved = directory / 'evaluations' / '000006-on-my_images-val-saved.json'
    assert audit.done.stdout.endswith(f'Numbers: {saved}\n') and '1 images without a label map are left out' in audit.done.stdout
    assert 'as the evaluation of step 6 of the run itself found them' in audit.done.stdout
    assert not audit.changes_outside(directory, tmp_path / 'tmp') and not audit.named('socket', 'os.system')
    found = json.loads(saved.read_text())

    fixed = (f'--workdir={directory}', f'--input={folder / "images"}', f'--output={tmp_path / "out"}')
    assert commands.run('predict', *fixed).returncode == 0
    (tmp_path / 'labels').mkdir()
    for name in 'bcd':
        shutil.copy(folder / 'labels' / f'{name}.png', tmp_path / 'labels')
    options = (f'--predictions={tmp_path / "out"}', f'--classes={folder / "classes.json"}', '--common')
    done = commands.run('score', f'--labels={tmp_path / "labels"}', *options, f'--output={tmp_path / "score.json"}')
    assert done.returncode == 0, done.stderr
    scored = json.loads((tmp_path / 'score.json').read_text())
    assert found['scores'] == scored['scores'] and found['classes'] == scored['classes'] and found['images'] == 3

    done = commands.run('evaluate', f'--workdir={directory}', f'--root={folder}', '--split=train')
    assert done.returncode == 0 and 'by one-to-one matching, fitted on these same images' in done.stdout, done.stderr
    fitted = json.loads((directory / 'evaluations' / '000006-on-my_images-train-fit.json').read_text())
    confusion = np.array(fitted['confusion'])
    rows, columns = optimize.linear_sum_assignment(confusion, maximize=True)
    assert fitted['mapping'] == columns.tolist() and fitted['scores']['accuracy']['interval'] is None
    assert fitted['scores']['accuracy']['value'] == pytest.approx(confusion[rows, columns].sum() / confusion.sum())
    assert before.items() <= _state(directory).items()


def test_a_folder_that_cannot_be_scored_is_explained(trained, folder, tmp_path):
    directory, other = tmp_path / 'run', tmp_path / 'other'
    shutil.copytree(trained.directory, directory)
    shutil.copytree(folder, other)
    shutil.rmtree(directory / 'evaluations')
    (other / 'classes.json').unlink()
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(other / 'labels' / 'b.png')
    (other / 'images' / 'c.png').write_bytes(b'nothing')
    for run, root, arguments, message in (
        (directory, folder, ['--match=saved'], 'evaluate the run on its own data first, without --root, or use --match=fit'),
        (trained.directory, other, ['--match=saved'], 'or give classes the same names in classes.json'),
        (directory, folder, ['--split=test'], "--split: there is no 'test', the names are train, val"),
        (directory, folder, ['--probes=linear'], 'of which images are segmented one by one, and nothing is prepared'),
        (
            directory,
            folder / 'images',
            [],
            'no label maps, so there is nothing to score; ar_seg_jax/data/folder.py has the layout',
        ),
        (directory, other, [], 'error: 2 problems with files, see above; nothing was scored. Mend or remove these files'),
    ):
        done = commands.run('evaluate', f'--workdir={run}', f'--root={root}', *arguments)
        assert done.returncode == 1 and done.stderr.endswith(f'{message}\n'), done.stderr
        assert 'Traceback' not in done.stderr and not done.stdout
    assert f'{other}/labels/b.png: the label map is 3 x 3 pixels but its image' in done.stderr
    assert f'{other}/images/c.png: not an image that Pillow can read' in done.stderr
    assert not (directory / 'evaluations').exists()


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files away')
def test_the_run_of_another_user_reads_only_what_this_one_names(trained, folder, tmp_path):
    directory = tmp_path / 'run'
    shutil.copytree(trained.directory, directory)
    altered(directory, data={'name': 'folder', 'data_dir': 'x', 'train_split': 'train', 'root': '/home/me/secret'})
    os.chown(directory / 'config.json', 12345, 12345)
    done = commands.run('evaluate', f'--workdir={directory}')
    assert done.returncode == 1 and f'error: {directory} belongs to another user' in done.stderr
    assert "data.root is '/home/me/secret'" in done.stderr and '--root=DIR' in done.stderr
    before = _state(directory)
    done = commands.run('evaluate', f'--workdir={directory}', f'--root={folder}')
    assert done.returncode == 0 and 'Numbers are not kept in the run of another user' in done.stdout, done.stderr
    assert _state(directory) == before
