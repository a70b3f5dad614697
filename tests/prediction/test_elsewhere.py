"""Which images of a folder are scored, and the classes that a run stored among those of the folder."""

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.data.classes import UNMATCHED, numbered
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.errors import UserError
from ar_seg_jax.prediction import elsewhere


@pytest.fixture
def root(tmp_path):
    """Images a to d in two splits, all but d with a label map."""
    for directory, names, shape in (('images', 'abcd', (8, 9, 3)), ('labels', 'abc', (8, 9))):
        (tmp_path / directory).mkdir()
        for name in names:
            Image.fromarray(np.ones(shape, np.uint8)).save(tmp_path / directory / f'{name}.png')
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / 'labels' / 'a.png')
    (tmp_path / 'splits.csv').write_text('id,split\na,train\nb,train\nc,test\nd,test\n')
    return tmp_path


@pytest.mark.parametrize(
    ('split', 'default', 'found', 'names', 'unlabelled'),
    [
        ('test', 'train', 'test', 'c', 1),
        (None, 'train', 'train', 'ab', 0),
        (None, 'val', '', 'abc', 1),
    ],
)
def test_a_split_is_scored_or_that_of_the_run_or_all(root, split, default, found, names, unlabelled):
    data = elsewhere.labelled(str(root), split, default)
    assert (data.split, data.unlabelled) == (found, unlabelled)
    assert [scene.image.stem for scene in data.scenes] == [scene.label.stem for scene in data.scenes] == list(names)
    assert [entry.name for entry in data.labels.classes] == ['class 0', 'class 1']


def test_a_split_without_label_maps_is_told_with_where_one_would_be(root):
    (root / 'labels' / 'c.png').unlink()
    message = rf'none of 2 images has a label map; that of {root}/images/c\.png would be {root}/labels/c\.png$'
    with pytest.raises(DataError, match=message):
        elsewhere.labelled(str(root), 'test', 'train')


def test_stored_classes_are_found_by_their_names(root):
    data = elsewhere.labelled(str(root), None, 'train')
    stored = elsewhere.stored([1, UNMATCHED, 0], numbered('class', 2)[::-1], data)
    np.testing.assert_array_equal(stored, [0, UNMATCHED, 1])
    with pytest.raises(
        UserError, match=r'the run knows the classes class 0, class 1, class 2, and .* has class 0, class 1; match'
    ):
        elsewhere.stored([0, 1, 2], numbered('class', 3), data)
