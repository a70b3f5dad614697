"""images.csv: files that lie anywhere, and what is said of tables that do not fit."""

import re

import pytest

from ar_seg_jax.data import folder, manifest
from ar_seg_jax.data.limits import DataError


@pytest.fixture
def root(tmp_path):
    """A folder with images in it and beside it, none of which are read here."""
    for name in ('pack/2019/scene one.tif', 'pack/2020/b.png', 'elsewhere/two.jpg', 'pack/masks/one.png'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / 'pack'


def _write(root, content):
    (root / 'images.csv').write_text(content, encoding='utf-8')
    return root


def test_files_splits_and_label_maps_are_those_of_the_table(root):
    far = root.parent / 'elsewhere' / 'two.jpg'
    found = manifest.read(
        _write(root, f'Image;split;label\n2019/scene one.tif;val;masks/one.png\n"{far}";train;\n../elsewhere/two.jpg;val\n')
    )
    assert found.images == {
        'val': [
            ('2019/scene one', root / '2019/scene one.tif'),
            ('../elsewhere/two', root / '../elsewhere/two.jpg'),
        ],
        'train': [(str(far.with_suffix('')).lstrip('/'), far)],
    }
    assert found.label_files == {'2019/scene one': root / 'masks' / 'one.png'}


def test_the_columns_split_and_id_may_be_left_out(root):
    assert manifest.read(_write(root, 'image\n2020/b.png\n')).images == {'train': [('2020/b', root / '2020/b.png')]}
    assert manifest.read(_write(root, 'id,image\nfirst,2020/b.png\n')).images == {'train': [('first', root / '2020/b.png')]}


def test_without_a_table_there_is_no_manifest(root):
    assert manifest.read(root) is None


def test_a_data_set_has_the_images_of_the_table_only(root):
    found = folder.contents(_write(root, 'image\n2020/b.png\n'))
    assert found.images == {'train': [('2020/b', root / '2020/b.png')]} and found.labels is None


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('file\n2020/b.png\n', "images.csv, line 1: the header has one column 'image'; the line is 'file'"),
        ('image,split\n2020/b.png,\n', "images.csv, line 2: a split is called by letters, digits, _ and -, found ''"),
        ('image\n2020/b.doc\n', 'images.csv, line 2: an image is a file ending in .'),
        ('image\n2020/b.png\n2020/b.png\n', "images.csv: 1 ids are in two rows: '2020/b'"),
        ('id,image\na,2020/b.png\na,2019/scene one.tif\n', "images.csv: 1 ids are in two rows: 'a'"),
        ('image,label\n2020/b.png,masks/b.png\n2020/c.png,\n', 'images.csv: 2 files are not there: '),
    ],
)
def test_a_table_that_does_not_fit_is_refused(root, content, message):
    with pytest.raises(DataError, match=re.escape(message)):
        manifest.read(_write(root, content))


def test_a_table_of_splits_beside_it_is_refused(root):
    (root / 'splits.csv').write_text('id,split\n')
    with pytest.raises(DataError, match=r'splits\.csv: images\.csv beside it names all images; write the splits to its column'):
        manifest.read(_write(root, 'image\n2020/b.png\n'))
