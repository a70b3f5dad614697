import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.data import builder as builders
from ar_seg_jax.data import images, instances, pipeline
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID

RNG = np.random.default_rng(0)
LABEL = np.zeros((20, 30), np.uint8)
LABEL[2:8, 3:9], LABEL[5:15, 12:18], LABEL[10:, 25:] = 7, 3, 200


def _write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _image():
    return RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def _builder(root, tmp_path, **options):
    return instances.builder(data_dir=str(tmp_path / 'tfds'), root=str(root), **options)


def _examples(data, split='train'):
    source = pipeline.source(builders.prepare(data), split)
    return {example['id']: example for example in (pipeline.decode(source[index]) for index in range(len(source)))}


@pytest.fixture
def folder(tmp_path):
    """a has a palette image, b one mask for each object, c nothing."""
    root = tmp_path / 'pack'
    for name in 'abc':
        _write(root / 'images' / f'{name}.png', _image())
    indexed = Image.fromarray(LABEL, 'P')
    indexed.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
    (root / 'masks').mkdir()
    indexed.save(root / 'masks' / 'a.png')
    _write(root / 'masks' / 'b' / 'one.png', 255 * (LABEL == 7).astype(np.uint8))
    _write(root / 'masks' / 'b' / 'two.png', np.repeat(90 * (LABEL == 3)[..., None], 3, axis=2).astype(np.uint8))
    (root / 'splits.csv').write_text('id,split\na,train\nb,train\nc,test\n')
    return root


def test_objects_are_numbered_in_the_order_of_their_ids_or_of_their_files(folder, tmp_path):
    data = _builder(folder, tmp_path)
    assert data.builder_config.instances and data.builder_config.classes == ()
    train, test = _examples(data, 'train'), _examples(data, 'test')
    np.testing.assert_array_equal(train['a']['image'], images.read_image(folder / 'images' / 'a.png'))
    np.testing.assert_array_equal(train['a']['label'], np.select([LABEL == 3, LABEL == 7, LABEL == 200], [1, 2, 3]))
    np.testing.assert_array_equal(train['b']['label'], np.select([LABEL == 7, LABEL == 3], [1, 2]))
    assert (test['c']['label'] == VOID).all()


def test_what_is_not_annotated_stays_so(folder, tmp_path):
    _write(folder / 'masks' / 'a.png', np.where(LABEL == 7, VOID, LABEL))
    label = _examples(_builder(folder, tmp_path))['a']['label']
    np.testing.assert_array_equal(label == VOID, LABEL == 7)
    assert set(np.unique(label)) == {0, 1, 2, VOID}


def test_images_of_one_size_are_squares_from_the_middle(folder, tmp_path):
    found = _examples(_builder(folder, tmp_path, size=10))['a']
    halved = Image.fromarray(LABEL).resize((15, 10), Image.Resampling.NEAREST)
    cut = np.array(halved)[:, 2:12]
    np.testing.assert_array_equal(found['label'] > 0, cut > 0)
    expected = Image.open(folder / 'images' / 'a.png').resize((15, 10), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found['image'], np.array(expected)[:, 2:12])


def test_images_of_a_height_and_a_width_are_whole(folder, tmp_path):
    found = _examples(_builder(folder, tmp_path, size=(10, 12)))['a']
    np.testing.assert_array_equal(found['label'] > 0, np.array(Image.fromarray(LABEL).resize((12, 10), 0)) > 0)
    expected = Image.open(folder / 'images' / 'a.png').resize((12, 10), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found['image'], np.array(expected))


def test_a_list_of_one_number_is_that_number(folder, tmp_path):
    assert _builder(folder, tmp_path, size=(10,)).name == _builder(folder, tmp_path, size=10).name


def test_frames_alone_are_read_in_the_order_of_their_names_at_any_depth(tmp_path):
    root, names = tmp_path / 'video', ['shot_b/00001', 'shot_a/00010', 'shot_a/00002']
    shown = {name: _image() for name in names}
    for name, image in shown.items():
        _write(root / f'{name}.png', image)
    data = _builder(root, tmp_path, val_share=0.0)
    assert [name for name, _ in data.builder_config.files['train']] == sorted(names)
    found = _examples(data)
    for name, example in found.items():
        np.testing.assert_array_equal(example['image'], shown[name])
        assert (example['label'] == VOID).all()
    assert found.keys() == shown.keys()


def test_blocks_number_the_objects_that_they_have(folder, tmp_path):
    blocks = _examples(_builder(folder, tmp_path, block_size=10))
    assert {name for name in blocks if name.startswith('a')} == {f'a_{row}_{column}' for row in (0, 10) for column in (0, 10, 20)}
    for name in (name for name in blocks if name.startswith('a')):
        row, column = map(int, name.split('_')[1:])
        ids = LABEL[row : row + 10, column : column + 10]
        np.testing.assert_array_equal(blocks[name]['label'], np.searchsorted(np.unique([0, *ids.reshape(-1)]), ids))


def test_a_directory_for_each_image_is_read_too_and_split_by_share(tmp_path):
    root = tmp_path / 'bowl'
    shown = {f'id{index}': _image() for index in range(10)}
    for name, image in shown.items():
        _write(root / name / 'images' / f'{name}.png', image)
        _write(root / name / 'masks' / 'q.png', 255 * (LABEL == 3).astype(np.uint8))
        _write(root / name / 'masks' / 'p.png', 255 * (LABEL == 200).astype(np.uint8))
    data = _builder(root, tmp_path, val_share=0.3)
    train, val = _examples(data, 'train'), _examples(data, 'val')
    assert len(train) == 7 and len(val) == 3 and {**train, **val}.keys() == shown.keys()
    for name, example in {**train, **val}.items():
        np.testing.assert_array_equal(example['image'], shown[name])
        np.testing.assert_array_equal(example['label'], np.select([LABEL == 200, LABEL == 3], [1, 2]))
    again = _builder(root, tmp_path, val_share=0.3, seed=1).builder_config.files
    assert {name for name, _ in again['val']} != set(val)


def test_254_objects_are_as_many_as_there_can_be(tmp_path):
    root = tmp_path / 'many'
    _write(root / 'images' / 'a.png', np.zeros((16, 32, 3), np.uint8))
    for index in range(255):
        mask = np.zeros(512, np.uint8)
        mask[2 * index : 2 * index + 2] = 255
        _write(root / 'masks' / 'a' / f'{index:03d}.png', mask.reshape(16, 32))
    with pytest.raises(DataError, match=r'masks/a: 255 objects in an image exceed the limit of 254; cut the image'):
        builders.prepare(_builder(root, tmp_path, val_share=0.0))
    (root / 'masks' / 'a' / '254.png').unlink()
    label = _examples(_builder(root, tmp_path, val_share=0.0))['a']['label']
    np.testing.assert_array_equal(label.reshape(-1)[:510], [*np.repeat(np.arange(1, 255), 2), 0, 0])


def _overlap(root):
    _write(root / 'masks' / 'b' / 'two.png', 255 * (LABEL > 0).astype(np.uint8))


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (lambda root: None, {'root': '/nowhere'}, r'/nowhere: no such directory; set --config.data.root'),
        (lambda root: None, {'size': 8, 'block_size': 8}, 'one is 0; found 8 and 8'),
        (
            lambda root: None,
            {'size': (8, 8, 8)},
            r'data\.size is the side of squares, or \(height, width\), in pixels; found \(8, 8',
        ),
        (
            lambda root: None,
            {'size': (8, 0)},
            r'data\.size is the side of squares, or \(height, width\), in pixels; found \(8, 0',
        ),
        (lambda root: None, {'block_size': 64}, r'[ab]\.png: 30 x 20 pixels after rescaling is smaller than a block'),
        (_overlap, {}, r'two\.png: 36 pixels of this object belong to one\.png or others too; give each pixel'),
        (lambda root: _write(root / 'masks' / 'a.png', LABEL[1:]), {}, r'a\.png: the label map is 30 x 19 pixels but its image'),
        (lambda root: _write(root / 'masks' / 'b' / 'x.png', LABEL[1:]), {}, r'x\.png: the label map is 30 x 19'),
        (lambda root: _write(root / 'masks' / 'z.png', LABEL), {}, r'masks/z\.png: no image has this name'),
        (lambda root: (root / 'masks' / 'a.png').write_bytes(b'\x89PNG\r\n\x1a\n cut'), {}, r'a\.png: (damaged|not an image)'),
        (lambda root: (root / 'splits.csv').write_text('id,split\nz,train\n'), {}, r"1 ids have no image in .*'z'"),
        (lambda root: (root / 'splits.csv').unlink(), {'val_share': 1.0}, r'val_share=1.0 of 3 images leaves none'),
        (lambda root: (root / 'images').rename(root / 'pictures'), {}, r'expected a directory images/, or <id>/images/'),
    ],
)
def test_what_does_not_fit_is_named(folder, tmp_path, change, options, message):
    change(folder)
    with pytest.raises(DataError, match=message):
        builders.prepare(instances.builder(data_dir=str(tmp_path / 'tfds'), **({'root': str(folder)} | options)))


def test_the_real_packs_are_read_as_they_are(shared_data, tmp_path):
    """Numbers of their tables, which scripts of others wrote."""
    for name, count, size in (('objects_rendered', 200, 128), ('nuclei', 206, 64)):
        root = shared_data / name
        rows = [row.split(',') for row in (root / 'splits.csv').read_text().splitlines()[1:]]
        data = _builder(root, tmp_path)
        assert set(data.builder_config.files) == {'train', 'val'}
        data.builder_config.files.pop('train')
        objects = {row[0]: int(row[2]) for row in rows if row[1] == 'val'}
        found = _examples(data, 'val')
        assert len(found) == count
        assert {name: int(example['label'].max()) for name, example in found.items()} == objects
        assert {example['image'].shape for example in found.values()} == {(size, size, 3)}
