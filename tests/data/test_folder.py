import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.data import builder as builders
from ar_seg_jax.data import folder, images, listing, pipeline
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID
from tests.support import commands

RNG = np.random.default_rng(0)


def _write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _image(height=40, width=50):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _examples(data, split='train'):
    source = pipeline.source(builders.prepare(data), split)
    return {example['id']: example for example in (pipeline.decode(source[index]) for index in range(len(source)))}


@pytest.fixture
def labelled(tmp_path):
    """A folder in the full layout: ids 3 (ignored), 5 and 9."""
    root = tmp_path / 'pack'
    for name in ('a', 'b', 'c'):
        _write(root / 'images' / f'{name}.png', _image())
        _write(root / 'labels' / f'{name}.png', RNG.choice([3, 5, 9], (40, 50)).astype(np.uint8))
    entries = [{'id': key, 'name': f'name {key}', 'color_rgb': [key, 0, 0]} for key in (3, 5, 9)]
    variant = {'names': ['all'], 'map': {'3': 255, '5': 0, '9': 0}}
    (root / 'classes.json').write_text(json.dumps({'ignore': 3, 'classes': entries, 'merged': variant}))
    (root / 'splits.csv').write_text('id,split,scene\na,train,x\nb,train,x\nc,val,y\n')
    return root


def test_plain_images_of_any_depth_and_ending_are_one_split_without_labels(tmp_path):
    root, data_dir = tmp_path / 'photos', str(tmp_path / 'tfds')
    first, second = _image(), _image()
    _write(root / 'one.png', first)
    _write(root / 'deeper' / 'two.tif', second)
    (root / '.hidden').mkdir()
    _write(root / '.hidden' / 'three.png', second)
    data = folder.builder(data_dir=data_dir, root=str(root), block_size=0)
    assert data.builder_config.classes == ()
    examples = _examples(data)
    assert examples.keys() == {'one', 'deeper/two'}
    np.testing.assert_array_equal(examples['one']['image'], first)
    np.testing.assert_array_equal(examples['deeper/two']['image'], second)
    assert (examples['one']['label'] == VOID).all()


def test_splits_and_class_ids_of_the_full_layout(labelled, tmp_path):
    data = folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(labelled), block_size=0)
    assert [entry.name for entry in data.builder_config.classes] == ['name 5', 'name 9']
    assert data.builder_config.classes[1].colour == (9, 0, 0)
    assert _examples(data, 'train').keys() == {'a', 'b'}
    label = _examples(data, 'val')['c']['label']
    expected = np.select([(ids := images.read_ids(labelled / 'labels' / 'c.png')) == 5, ids == 9], [0, 1], VOID)
    np.testing.assert_array_equal(label, expected)
    merged = folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(labelled), block_size=0, variant='merged')
    np.testing.assert_array_equal(_examples(merged, 'val')['c']['label'], np.where(ids == 3, VOID, 0))


def test_label_maps_in_colours_are_read_by_the_colours_of_the_classes(labelled, tmp_path):
    ids = images.read_ids(labelled / 'labels' / 'c.png')
    by_id = folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(labelled), block_size=0)
    expected = _examples(by_id, 'val')['c']['label']
    _write(labelled / 'labels' / 'c.png', np.stack([ids, 0 * ids, 0 * ids], axis=2))
    again = folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(labelled), block_size=0)
    assert again.builder_config.name != by_id.builder_config.name  # a changed file is prepared anew
    np.testing.assert_array_equal(_examples(again, 'val')['c']['label'], expected)


def test_labels_without_names_become_numbered_classes(tmp_path):
    _write(tmp_path / 'pack' / 'images' / 'a.png', _image())
    _write(tmp_path / 'pack' / 'labels' / 'a.png', RNG.choice([4, 200, 255], (40, 50)).astype(np.uint8))
    data = folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(tmp_path / 'pack'), block_size=0)
    assert [entry.name for entry in data.builder_config.classes] == ['class 4', 'class 200']
    assert set(np.unique(_examples(data)['a']['label'])) == {0, 1, VOID}


def test_overlapping_blocks_show_every_pixel_and_label_each_once(labelled, tmp_path):
    data = folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(labelled), block_size=16, labels=True)
    image, whole = images.read_image(labelled / 'images' / 'c.png'), np.zeros((40, 50, 3), np.uint8)
    labelled_times = np.zeros((40, 50), int)
    for name, example in _examples(data, 'val').items():
        row, column = map(int, name.split('_')[1:])
        whole[row : row + 16, column : column + 16] = example['image']
        labelled_times[row : row + 16, column : column + 16] += example['label'] != VOID
    np.testing.assert_array_equal(whole, image)
    np.testing.assert_array_equal(labelled_times, images.read_ids(labelled / 'labels' / 'c.png') != 3)


def test_dropped_edges_leave_the_grid_from_the_top_left(labelled, tmp_path):
    data = folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(labelled), block_size=16, edges='drop')
    assert _examples(data, 'val').keys() == {f'c_{row}_{column}' for row in (0, 16) for column in (0, 16, 32)}


def test_rescaling_happens_before_cutting(labelled, tmp_path):
    data = folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(labelled), block_size=20, rescale=0.5)
    assert _examples(data, 'val').keys() == {'c_0_0', 'c_0_5'}


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (lambda root: None, {'root': '/nowhere'}, r'/nowhere: no such directory; set --config.data.root'),
        (lambda root: None, {'variant': 'none'}, r"no variant 'none'; the variants are \['merged'\]"),
        (lambda root: None, {'edges': 'wrap'}, r"'overlap' or 'drop', found 'wrap'"),
        (lambda root: _write(root / 'labels' / 'a.png', np.full((4, 5), 9, np.uint8)), {}, r'label map is 5 x 4 pixels'),
        (lambda root: _write(root / 'labels' / 'a.png', np.full((40, 50), 77, np.uint8)), {}, r'unknown label ids \[77\]'),
        (lambda root: (root / 'images' / 'a.png').write_bytes(b'\x89PNG\r\n\x1a\n cut'), {}, r'a\.png: (damaged|not an image)'),
        (lambda root: (root / 'splits.csv').write_text('id,split\nz,train\n'), {}, r"1 ids have no image in .*'z'"),
        (lambda root: _write(root / 'images' / 'a.tif', _image()), {}, r'a\.tif: same name as'),
        (lambda root: (root / 'classes.json').write_text('{"other": []}'), {}, r'no list "classes".*data.labels=False'),
    ],
)
def test_what_does_not_fit_is_named(labelled, tmp_path, change, options, message):
    change(labelled)
    options = {'root': str(labelled), 'block_size': 0} | options
    with pytest.raises(DataError, match=message):
        builders.prepare(folder.builder(data_dir=str(tmp_path / 'tfds'), **options))


def test_images_are_found_in_the_order_of_their_paths_but_for_hidden_ones(tmp_path):
    """Prepared data is called by a digest of the list; another order would be another data set."""
    names = ('a.png', 'a b.JPG', 'a/z.png', 'a/b/c.tif', 'a-b/d.png', 'a.b/e.f.png', 'Z.png', 'ä.webp')
    others = ('.hidden.png', 'a/.hidden/f.png', 'notes.txt', 'png', 'a.png.txt')
    for name in (*names, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'directory.png').mkdir()
    (tmp_path / 'link.png').symlink_to(tmp_path / 'nowhere')
    (tmp_path / 'linked').symlink_to(tmp_path / 'a')
    expected = sorted(tmp_path / name for name in (*names, 'link.png'))
    assert listing.find_images(tmp_path) == expected
    keys = [path.relative_to(tmp_path).with_suffix('').as_posix() for path in expected]
    (tmp_path / 'a.png').rename(tmp_path / 'b.png')
    assert sorted(listing.by_identifier(tmp_path)) == sorted(key if key != 'a' else 'b' for key in keys)


def test_a_directory_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    (tmp_path / 'images' / 'part').mkdir(parents=True)
    _write(tmp_path / 'images' / 'one.png', np.zeros((8, 8, 3), np.uint8))
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith('part'):
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refusing)
    with pytest.raises(DataError, match=r'images/part: cannot be read \(Permission denied\); allow it, or take it away$'):
        listing.find_images(tmp_path / 'images')


def test_a_folder_without_images_says_what_it_looked_for(tmp_path):
    with pytest.raises(DataError, match=r'no images found; expected files ending in \.jpg'):
        folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(tmp_path))


def test_label_maps_of_nested_images_are_nested_likewise_and_hidden_files_are_none(labelled, tmp_path):
    (labelled / 'splits.csv').unlink()
    _write(labelled / 'images' / 'town' / 'd é.png', _image())
    _write(labelled / 'labels' / 'town' / 'd é.png', np.full((40, 50), 9, np.uint8))
    (labelled / 'labels' / '.DS_Store').write_bytes(b'\0')
    examples = _examples(folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(labelled), block_size=0))
    assert examples.keys() == {'a', 'b', 'c', 'town/d é'}
    assert (examples['town/d é']['label'] == 1).all()


def test_images_smaller_than_a_block_are_mirrored_and_what_is_added_has_no_data(labelled, tmp_path, caplog):
    with caplog.at_level('WARNING'):
        examples = _examples(folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(labelled), block_size=64))
    assert examples.keys() == {'a_0_0', 'b_0_0'}
    (message,) = {text for text in caplog.messages if 'smaller' in text and 'train' not in text and 'a.png' in text}
    assert 'a.png (50 x 40 pixels) and 1 more are smaller than a block of 64 x 64; added pixels count nowhere' in message
    whole = _examples(folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(labelled), block_size=0))['a']
    found = examples['a_0_0']
    rows, columns = [*range(40), *range(39, 15, -1)], [*range(50), *range(49, 35, -1)]
    np.testing.assert_array_equal(found['image'], whole['image'][rows][:, columns])
    np.testing.assert_array_equal(found['label'][:40, :50], whole['label'])
    inside = np.zeros((64, 64), bool)
    inside[:40, :50] = True
    np.testing.assert_array_equal(found['mask'], inside)


def test_label_files_that_are_called_like_no_image_are_told(labelled, tmp_path, caplog):
    _write(labelled / 'labels' / 'd.png', np.zeros((40, 50), np.uint8))
    with caplog.at_level('WARNING'):
        assert folder.contents(labelled).label_files.keys() == {'a', 'b', 'c'}
    assert '1 of 4 label files are called like no image and are not read: ' in caplog.text and 'd.png' in caplog.text
    for path in list((labelled / 'labels').iterdir()):
        path.rename(path.with_stem(f'{path.stem}_color'))
    message = r'labels: 4 label files, none of which is called like an image; found .*a_color\.png, expected .*/labels/a\.png\.'
    with pytest.raises(DataError, match=message):
        folder.builder(data_dir=str(tmp_path), root=str(labelled))
    assert folder.contents(labelled, labels=False).labels is None


def test_directories_that_look_like_splits_are_told_to_be_none(tmp_path, caplog):
    for name in ('train/a.png', 'val/b.png'):
        _write(tmp_path / 'images' / name, _image())
    with caplog.at_level('WARNING'):
        found = folder.contents(tmp_path)
    assert [key for key, _ in found.images['train']] == ['train/a', 'val/b']
    assert 'images in train and val are all one split, train; ' in caplog.text and 'splits.csv can say otherwise' in caplog.text


def test_an_interrupted_preparation_leaves_nothing_and_can_be_repeated(labelled, tmp_path, monkeypatch):
    whole = images.read_image
    calls = []

    def interrupted(path):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(path)

    make = lambda: folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(labelled), block_size=0)  # noqa: E731
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(images, 'read_image', interrupted)
        builders.prepare(make())
    assert not list((tmp_path / 'tfds').rglob('*.array_record*'))
    assert _examples(make(), 'train').keys() == {'a', 'b'}


def test_tables_are_utf_8_in_any_locale(labelled, tmp_path):
    content = json.loads((labelled / 'classes.json').read_text())
    content['classes'][1]['name'] = 'Straße'
    (labelled / 'classes.json').write_text(json.dumps(content, ensure_ascii=False), encoding='utf-8')
    (labelled / 'splits.csv').write_text('id,split,Straße\na,train,ä\n', encoding='utf-8')
    script = f"""
from ar_seg_jax.data import folder
config = folder.builder(data_dir={str(tmp_path)!r}, root={str(labelled)!r}).builder_config
print(ascii(config.classes[0].name), config.files['train'][0][0])
"""
    ascii_only = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
    environment = commands.environment(PYTHONPATH=str(commands.ROOT), **ascii_only)
    done = subprocess.run([sys.executable, '-c', script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "'Stra\\xdfe' a\n", done.stderr


def test_the_real_packs_prepare_and_read(shared_data, tmp_path):
    pack, root = shared_data / 'aerial_isprs_samples', tmp_path / 'pack'
    root.mkdir()
    (root / 'images').symlink_to(pack / 'images')  # without its splits.csv, which says nothing about splits
    data = folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(root), labels=False, block_size=200, edges='drop')
    # crops.csv of the pack lists the same grid
    rows = (pack / 'crops.csv').read_text().splitlines()[1:]
    expected = {'{0}_{2}_{1}'.format(*row.split(',')) for row in rows}
    assert _examples(data).keys() == expected


def _with_bad_files(tmp_path):
    root = tmp_path / 'photos'
    for index in range(6):
        _write(root / f'{index}.png', _image())
    (root / '1.png').write_bytes((root / '1.png').read_bytes()[:200])
    (root / '4.png').write_bytes(b'nothing')
    (root / '5.png').write_bytes(b'')
    return root


def test_all_bad_files_are_listed_at_once(tmp_path):
    root = _with_bad_files(tmp_path)
    with pytest.raises(DataError) as caught:
        builders.prepare(folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(root), block_size=30))
    first, second, third, last = str(caught.value).splitlines()
    assert '1.png: damaged' in first and '4.png: not an image' in second and '5.png: ' in third
    assert last.startswith('3 of 6 files cannot be used; mend or remove them; or leave up to a share of them out: ')
    assert last.endswith('--config.data.skip=0.5')


def test_bad_files_are_left_out_up_to_the_stated_share(tmp_path, caplog):
    root = _with_bad_files(tmp_path)
    options = {'data_dir': str(tmp_path / 'tfds'), 'root': str(root), 'block_size': 30, 'edges': 'drop'}
    with caplog.at_level('WARNING'):
        examples = _examples(folder.builder(**options, skip=0.5))
    assert examples.keys() == {'0_0_0', '2_0_0', '3_0_0'}
    (message,) = (text for text in caplog.messages if 'left out' in text)
    assert message.startswith('3 of 6 files cannot be used and are left out:\n') and '4.png' in message
    with pytest.raises(DataError, match='3 of 6 files cannot be used'):
        builders.prepare(folder.builder(**options, skip=0.4))
    with pytest.raises(DataError, match=r'data\.skip is a share of files, from 0 to less than 1; found 1'):
        folder.builder(**options, skip=1.0)
