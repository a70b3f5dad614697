"""Scoring of label maps as a user starts it; the numbers are in evaluation/test_agreement.py."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from tests.support import auditing, commands

RNG = np.random.default_rng(0)
SWAP = np.array([0, 1, 7, 0, 0, 0, 0, 2], np.uint8)  # of ids 1, 2 and 7


@pytest.fixture
def place(tmp_path):
    """Four label maps, and predictions in which two ids are swapped and a fifth of the pixels are wrong."""
    for name in 'abcd':
        label = RNG.choice([1, 2, 7], (20, 30)).astype(np.uint8)
        predicted = np.where(RNG.random(label.shape) < 0.8, SWAP[label], RNG.choice([1, 2, 7], label.shape)).astype(np.uint8)
        for directory, array in (('labels', label), ('predictions', predicted)):
            (tmp_path / directory).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / directory / f'{name}.png')
    return tmp_path


def _score(place, *arguments):
    return commands.run('score', f'--labels={place / "labels"}', f'--predictions={place / "predictions"}', *arguments)


def _pixels(place, directory):
    return np.concatenate([np.array(Image.open(path)).reshape(-1) for path in sorted((place / directory).glob('*.png'))])


def test_label_maps_are_scored_with_and_without_matching_and_only_the_output_is_written(place):
    label, predicted = (_pixels(place, directory) for directory in ('labels', 'predictions'))
    iou = {
        'none': metrics.jaccard_score(label, predicted, average='macro'),
        'one-to-one': metrics.jaccard_score(label, SWAP[predicted], average='macro'),
    }
    for matching, expected in iou.items():
        output = place / 'out' / f'{matching}.json'
        arguments = (f'--labels={place / "labels"}', f'--predictions={place / "predictions"}', f'--matching={matching}')
        audit = auditing.audited(place, '-m', 'ar_seg_jax.score', *arguments, f'--output={output}')
        assert audit.done.returncode == 0, audit.done.stderr
        content = json.loads(output.read_text())
        assert content['scores']['mean_iou']['value'] == pytest.approx(expected)
        assert f'{expected:.4f} [' in audit.done.stdout and audit.done.stdout.endswith(f'Numbers: {output}\n')
        assert [entry['name'] for entry in content['classes']] == ['class 1', 'class 2', 'class 7']
        assert content['images'] == 4 and content['pixels'] == 2400
        assert output.exists() and not audit.changes_outside(place / 'out', place / 'tmp')
    assert 'one-to-one matching, fitted on these images (no held-out score)' in content['protocol']
    assert (content['ids_of_predictions'], content['mapping']) == ([1, 2, 7], [0, 2, 1])


def test_what_does_not_fit_together_is_listed_and_nothing_is_written(place):
    (place / 'labels' / 'a.png').write_bytes(b'nothing')
    (place / 'labels' / 'b.png').rename(place / 'labels' / 'e\n.png')
    done = _score(place, f'--output={place / "out.json"}')
    assert done.returncode == 1 and not done.stdout and not (place / 'out.json').exists()
    lines = done.stderr.splitlines()
    assert (
        len(lines) == 4 and lines[-1] == 'error: 3 problems with files, see above; nothing was scored. Mend or remove these files'
    )
    assert lines[0].startswith(f"{place}/labels/e\\n.png: there is no 'e\\n' in") and 'a.png: not an image' in lines[2]


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        (['--labels=/nowhere'], 1, '/nowhere: no such directory; --labels is the directory of the true label maps'),
        (['--classes=/nowhere.json'], 1, '/nowhere.json: no such file'),
        (['--matching=some'], 2, 'flag --matching=some: value should be one of <none|one-to-one|many-to-one>'),
    ],
)
def test_a_mistake_is_told_in_a_line(place, arguments, status, message):
    done = _score(place, *arguments)
    assert done.returncode == status and done.stderr.startswith(f'error: {message}') and done.stderr.count('\n') == 1
