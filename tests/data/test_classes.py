"""Classes, those of clusters, and both in JSON files, which anybody may have written."""

from pathlib import Path

import numpy as np
import pytest

from ar_seg_jax.data import classes
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID

ROAD = {'name': 'road', 'colour': [1, 2, 3]}


def test_colours_of_many_classes_differ():
    assert len(set(classes.colours(27))) == 27


def test_unmatched_clusters_become_void():
    np.testing.assert_array_equal(classes.classes_of(np.array([[0, 1, 2]]), np.array([1, -1, 0])), [[1, VOID, 0]])


def test_classes_come_back_from_json():
    assert classes.from_json(Path('f'), [ROAD]) == (classes.Class('road', (1, 2, 3)),)
    assert classes.from_json(Path('f'), [ROAD | {'group': 'stuff'}]) == (classes.Class('road', (1, 2, 3), 'stuff'),)
    assert classes.mapping_from_json(Path('f'), [0, -1, 1], 2) == [0, -1, 1]


@pytest.mark.parametrize(
    ('entries', 'expected'),
    [
        (None, 'a list of at most 255 classes, found None$'),
        ({'name': 'road'}, r"a list of at most 255 classes, found \{'name': 'road'\}$"),
        ([ROAD] * 256, 'a list of at most 255 classes, found '),
        *(
            (
                [entry],
                'a class with a printable "name" and a "colour" of three times 0 to 255, and perhaps a printable "group", found ',
            )
            for entry in (
                None,
                ROAD | {'name': 3},
                ROAD | {'name': 'clear \x1b[2J'},
                ROAD | {'name': 'two\nlines'},
                ROAD | {'colour': [1, 2]},
                ROAD | {'colour': [1, 2, 256]},
                ROAD | {'colour': [1, 2, -1]},
                ROAD | {'colour': [1, 2, 0.5]},
                ROAD | {'colour': 'red'},
                ROAD | {'group': 3},
                ROAD | {'group': 'two\nlines'},
            )
        ),
    ],
)
def test_classes_of_another_form_are_refused_by_the_name_of_the_file(entries, expected):
    with pytest.raises(UserError, match=rf'^evaluation\.json: expected {expected}') as refused:
        classes.from_json(Path('evaluation.json'), entries)
    assert len(str(refused.value)) < 400 and str(refused.value).isprintable()


@pytest.mark.parametrize('mapping', [None, 'ab', [2], [-2], [0.0], [True], ['0'], [[0]]])
def test_a_mapping_to_what_is_no_class_is_refused(mapping):
    with pytest.raises(UserError, match=r'^f\.json: expected for each cluster one of 2 classes by its number, or -1, found '):
        classes.mapping_from_json(Path('f.json'), mapping, 2)
