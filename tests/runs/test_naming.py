"""What clusters are called by an evaluation and by a file that a person wrote."""

import json
import logging
import re

import pytest

from ar_seg_jax.data.classes import Class, numbered
from ar_seg_jax.errors import UserError
from ar_seg_jax.runs import naming, workdir

STEP = 300
SKY, ROAD = Class('sky', (10, 120, 250), 'stuff'), Class('road', (200, 30, 30))


@pytest.fixture
def plain(tmp_path):
    """A run without labels."""
    directory = tmp_path / 'plain'
    directory.mkdir()
    return directory


@pytest.fixture
def evaluated(tmp_path):
    """A run of four clusters, of which two are roads, and one is nothing."""
    entries = [entry._asdict() for entry in (SKY, ROAD)]
    content = {'segmentation': {'clusters': {'mapping': [1, 0, 1, -1], 'classes': entries}}}
    directory = tmp_path / 'evaluated'
    path = workdir.evaluation(directory, STEP)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    return directory


def named(directory, **content):
    (directory / 'names.json').write_text(json.dumps(content))
    return naming.of_clusters(directory, STEP, 4)


def test_clusters_of_one_name_are_a_class_and_a_hidden_one_has_none(plain):
    found = named(plain, step=STEP, names={'0': 'sky', '1': 'road', '2': 'road', '3': None})
    before = numbered('cluster', 4)
    assert found.mapping == [0, 1, 1, -1]
    assert found.classes == (Class('sky', before[0].colour), Class('road', before[1].colour))


def test_clusters_that_are_not_named_stay_what_they_are(plain, evaluated):
    assert named(plain, names={'2': 'road'}).classes[2].name == 'road'
    found = named(evaluated, names={})
    assert found == ([1, 0, 1, -1], (SKY, ROAD))


def test_classes_of_labels_keep_their_numbers_and_new_ones_come_after_with_colours_of_their_own(evaluated):
    found = named(evaluated, names={'0': 'pavement', '1': 'road', '3': 'pole'})
    assert [entry.name for entry in found.classes] == ['sky', 'road', 'pavement', 'pole']
    assert found.classes[:2] == (SKY, ROAD) and found.mapping == [2, 1, 1, 3]
    assert len({entry.colour for entry in found.classes}) == 4


def test_colours_can_be_chosen(plain, evaluated):
    colour = list(numbered('cluster', 4)[1].colour)
    found = named(plain, names={'0': 'sky'}, colours={'sky': colour})
    assert found.classes[0] == Class('sky', tuple(colour)) and found.classes[1].colour != tuple(colour)
    assert named(evaluated, names={}, colours={'road': [1, 2, 3]}).classes == (SKY, ROAD._replace(colour=(1, 2, 3)))


def test_more_classes_than_a_label_map_has_numbers_for_are_refused(evaluated):
    entries = [{'name': f'class {number}', 'colour': [number, 0, 0]} for number in range(254)]
    content = {'segmentation': {'clusters': {'mapping': [0, 1, 2, 3], 'classes': entries}}}
    workdir.evaluation(evaluated, STEP).write_text(json.dumps(content))
    assert len(named(evaluated, names={'0': 'a'}).classes) == 255
    with pytest.raises(UserError, match='with these names there are 256 classes, expected at most 255'):
        named(evaluated, names={'0': 'a', '1': 'b'})


def test_a_file_that_is_given_comes_before_that_of_the_run(plain, tmp_path):
    other = tmp_path / 'other.json'
    other.write_text('{"names": {"0": "a"}}')
    named(plain, names={'0': 'b'})
    assert naming.of_clusters(plain, STEP, 4, other).classes[0].name == 'a'
    with pytest.raises(UserError, match=r'none\.json: no such file'):
        naming.of_clusters(plain, STEP, 4, tmp_path / 'none.json')


def test_names_for_another_step_do_not_count_and_are_refused_where_they_are_asked_for(plain, caplog):
    with caplog.at_level(logging.WARNING, logger='ar_seg_jax'):
        assert named(plain, step=200, names={'0': 'a'}).classes == numbered('cluster', 4)
    assert 'the names are for clusters after step 200, and this is step 300: they do not count' in caplog.text
    with pytest.raises(UserError, match='this is step 300; make names for it in its page, or remove "step"'):
        naming.of_clusters(plain, STEP, 4, plain / 'names.json')


def test_labels_are_what_clusters_are_called_like(evaluated):
    assert naming.as_labels(evaluated, STEP, (SKY, ROAD), 4) is None
    named(evaluated, names={'0': 'sky', '1': 'pavement'})
    assert naming.as_labels(evaluated, STEP, (SKY, ROAD), 4) == [0, -1, 1, -1]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"names": {"0": "a",}}', r'names.json: not JSON (.*line 1 column .*); the form of such files is in docs/report.md'),
        ('{"names": {"0": "a", "0": "b"}}', r"names.json: not JSON (the key '0' is there twice); .*"),
        ('[]', 'names.json: expected a JSON object, found list; .*'),
        ('{"step": 300}', 'names.json: expected an object with names, which lacks names; .*'),
        ('{"names": {}, "color": {}}', "names.json: found the key 'color', expected step, names, colours; .*"),
        ('{"names": {}, "step": "300"}', 'names.json, "step": expected a number of steps, found \'300\''),
        ('{"names": []}', r'names.json, "names": expected an object of names by cluster, found []; .*'),
        ('{"names": {"4": "a"}}', 'names.json, "names": expected numbers of clusters, "0" to "3", found \'4\''),
        ('{"names": {"01": "a"}}', 'names.json, "names": expected numbers of clusters, "0" to "3", found \'01\''),
        ('{"names": {"sky": "a"}}', 'names.json, "names": expected numbers of clusters, "0" to "3", found \'sky\''),
        ('{"names": {"1": " "}}', 'names.json, "names", "1": expected a name, or null for a cluster that is hidden; found \' \''),
        ('{"names": {"1": 7}}', 'names.json, "names", "1": expected a name, or null for a cluster that is hidden; found 7'),
        ('{"names": {"1": "a\\u0000"}}', 'names.json, "names", "1": expected a name, .*'),
        ('{"names": {}, "colours": 7}', 'names.json, "colours": expected an object of colours by name, found 7; .*'),
        ('{"names": {"0": "a"}, "colours": {"b": [1, 2, 3]}}', 'names.json, "colours": no cluster is called \'b\''),
        ('{"names": {"0": "a"}, "colours": {"a": [1, 2]}}', 'names.json, "colours": expected a class with a printable .*'),
    ],
)
def test_a_wrong_file_is_an_error_that_says_where(plain, content, message):
    (plain / 'names.json').write_text(content)
    with pytest.raises(UserError) as error:
        naming.of_clusters(plain, STEP, 4)
    escaped = re.escape(message).replace(r'\.\*', '.*')
    assert re.search(f'{escaped}$', str(error.value)), error.value
