"""Label maps of two directories, and all that can be wrong with them."""

import json

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.data import folder, label_pairs
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID

RNG = np.random.default_rng(0)
IDS = (3, 5, 9)
ENTRIES = [{'id': key, 'name': f'name {key}', 'color_rgb': [key, 0, 2 * key]} for key in IDS]


def _write(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)


@pytest.fixture
def maps(tmp_path):
    """Maps of labels/ with the ids of classes.json, of which 3 is ignored, and predictions/ of other ids; two names each."""
    for name in ('a', 'deeper/b'):
        _write(tmp_path / 'pack' / 'labels' / f'{name}.png', RNG.choice(IDS, (8, 9)).astype(np.uint8))
        _write(tmp_path / 'predictions' / f'{name}.png', RNG.choice([0, 7, 200, VOID], (8, 9)).astype(np.uint8))
    (tmp_path / 'pack' / 'classes.json').write_text(json.dumps({'ignore': 3, 'classes': ENTRIES}))
    return tmp_path


def _paired(maps, table='classes.json', **options):
    labels = maps / 'pack' / 'labels'
    options = {'matched': True, **options}
    return label_pairs.paired(labels, maps / 'predictions', maps / 'pack' / table if table else None, **options)


def _stored(path):
    return np.array(Image.open(path))


def test_ids_of_predictions_become_numbers_of_clusters_and_those_of_labels_classes(maps):
    pairs = _paired(maps)
    assert list(pairs.files) == ['a', 'deeper/b']
    assert [entry.name for entry in pairs.labels.classes] == ['name 5', 'name 9']
    assert [entry.name for entry in pairs.predictions.classes] == ['cluster 0', 'cluster 7', 'cluster 200']
    for name, (predicted, label) in zip(pairs.files, pairs, strict=True):
        ids = _stored(maps / 'pack' / 'labels' / f'{name}.png')
        np.testing.assert_array_equal(label, np.select([ids == 5, ids == 9], [0, 1], VOID))
        ids = _stored(maps / 'predictions' / f'{name}.png')
        np.testing.assert_array_equal(predicted, np.select([ids == 0, ids == 7, ids == 200], [0, 1, 2], VOID))


def test_without_a_table_each_id_is_a_class_and_unmatched_predictions_have_the_same_ones(maps):
    pairs = _paired(maps, table=None)
    assert [entry.name for entry in pairs.labels.classes] == ['class 3', 'class 5', 'class 9']
    pairs = _paired(maps, table=None, matched=False)
    assert [entry.name for entry in pairs.labels.classes] == [f'class {key}' for key in (0, 3, 5, 7, 9, 200)]
    assert pairs.predictions is pairs.labels


def test_palettes_colours_and_greys_are_the_same_maps(maps):
    expected = list(_paired(maps))
    path = maps / 'pack' / 'labels' / 'a.png'
    ids = _stored(path)
    palette = Image.fromarray(ids)
    palette.putpalette([255, 0, 0] * 256)
    for image in (palette, Image.fromarray(np.stack([ids, 0 * ids, 2 * ids], axis=2))):
        image.save(path)
        for pair, other in zip(_paired(maps), expected, strict=True):
            np.testing.assert_array_equal(pair, other)


def test_what_predict_writes_is_taken_by_its_names(maps):
    """<name>_labels.png, whose values are places in its own classes.json; overlays are left out."""
    for name in ('a', 'deeper/b'):
        path = maps / 'predictions' / f'{name}.png'
        ids = _stored(maps / 'pack' / 'labels' / f'{name}.png')
        _write(path.with_name(f'{path.stem}_labels.png'), np.select([ids == 9, ids == 5], [0, 1], VOID).astype(np.uint8))
        path.rename(path.with_name(f'{path.stem}_overlay.png'))
    own = {'classes': [{'name': f'name {key}', 'colour': [key, 0, 0], 'group': ''} for key in (9, 5)]}
    (maps / 'predictions' / 'classes.json').write_text(json.dumps(own))
    pairs = _paired(maps, matched=False)
    assert len(pairs.files) == 2
    for predicted, label in pairs:
        np.testing.assert_array_equal(predicted, label)
    own['classes'][0]['name'] = 'cluster 0'
    (maps / 'predictions' / 'classes.json').write_text(json.dumps(own))
    message = (
        r'classes\.json: there are predictions of cluster 0, but the classes of .*labels are name 5, name 9; use the same names'
    )
    with pytest.raises(DataError, match=message):
        _paired(maps, matched=False)
    assert [entry.name for entry in _paired(maps).predictions.classes] == ['cluster 0', 'cluster 1']


def test_everything_that_is_wrong_is_listed_with_its_name(maps, caplog):
    labels, predictions = maps / 'pack' / 'labels', maps / 'predictions'
    fine = np.full((8, 9), 5, np.uint8)
    for name, label, predicted in (
        ('narrow', fine, fine[:, :-1]),
        ('deep', fine.astype(np.uint16), fine),
        ('unknown', fine + 1, fine),
        ('coloured', fine, np.stack([fine] * 3, axis=2)),
    ):
        _write(labels / f'{name}.png', label)
        _write(predictions / f'{name}.png', predicted)
    (predictions / 'deep.png').write_bytes(b'nothing')
    _write(labels / 'lonely.png', fine)
    _write(predictions / 'alone.png', fine)
    with pytest.raises(DataError, match=r'^7 problems with files, see above; nothing was scored\. Mend or remove these files$'):
        _paired(maps)
    expected = [
        f"{labels}/lonely.png: there is no 'lonely' in {predictions}; --common leaves out what has no partner",
        f"{predictions}/alone.png: there is no 'alone' in {labels}; --common leaves out what has no partner",
        f'{predictions}/coloured.png: unknown label colour (5, 5, 5) at row 0',
        f"{labels}/deep.png: expected an 8-bit greyscale or palette label map, found mode 'I;16'",
        f'{predictions}/deep.png: not an image that Pillow can read',
        f'{predictions}/narrow.png: the label map is 8 x 8 pixels but that of {labels}/narrow.png 9 x 8; both must be',
        f'{labels}/unknown.png: unknown label ids [6]; the known ids are [3, 5, 9, 255]',
    ]
    assert len(caplog.messages) == len(expected)
    for message, beginning in zip(caplog.messages, expected, strict=True):
        assert message.startswith(beginning)


def test_files_without_partner_are_left_out_if_that_is_wanted(maps):
    _write(maps / 'predictions' / 'alone.png', np.zeros((8, 9), np.uint8))
    assert list(_paired(maps, common=True).files) == ['a', 'deeper/b']


def test_directories_that_have_nothing_in_common_are_told_in_a_line(maps, caplog):
    (maps / 'predictions' / 'a.png').rename(maps / 'predictions' / 'x.png')
    (maps / 'predictions' / 'deeper').rename(maps / 'predictions' / 'other')
    with pytest.raises(DataError, match=r"no file in .*predictions is called like one in .*: there is 'other/b', and here 'a'"):
        _paired(maps)
    assert not caplog.messages


def test_the_table_of_labels_is_in_their_directory_or_beside_it(maps):
    assert label_pairs.table_of(maps / 'pack' / 'labels') == maps / 'pack' / 'classes.json'
    assert label_pairs.table_of(maps / 'predictions') is None
    (maps / 'pack' / 'labels' / 'classes.json').write_text('{}')
    assert label_pairs.table_of(maps / 'pack' / 'labels') == maps / 'pack' / 'labels' / 'classes.json'


def test_labels_in_colours_that_nobody_named_say_what_is_missing(tmp_path):
    _write(tmp_path / 'images' / 'a.png', np.zeros((8, 9, 3), np.uint8))
    _write(tmp_path / 'labels' / 'a.png', np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(DataError, match=r'a\.png: a label map in colours needs classes\.json with "color_rgb" for every class'):
        folder.contents(tmp_path)
