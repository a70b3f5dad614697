import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from ar_seg_jax.data import potsdam
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID
from tests.support import stored

RNG = np.random.default_rng(0)
COLOURS = np.array([[255, 255, 255], [0, 0, 255], [0, 255, 255], [0, 255, 0], [255, 255, 0], [255, 0, 0]], np.uint8)
TILES = {'2_10': 1, '2_11': 1, '3_10': 0}  # tile: has labels


@pytest.fixture
def download(tmp_path):
    """Three small tiles in the names and formats of the ISPRS download; 40 pixels are 4 x 4 blocks of 5."""
    root = tmp_path / 'raw'
    (root / '4_Ortho_RGBIR').mkdir(parents=True)
    (root / '5_Labels_all').mkdir()
    for tile, labelled in TILES.items():
        bands = RNG.integers(0, 256, (40, 40, 4), dtype=np.uint8)
        file = root / '4_Ortho_RGBIR' / f'top_potsdam_{tile}_RGBIR.tif'
        tifffile.imwrite(file, bands, photometric='rgb', extrasamples=['unspecified'])
        if labelled:
            _paint(root, tile, RNG.integers(0, 6, (40, 40)))
    return root


def _paint(root, tile, label, folder='5_Labels_all'):
    file = root / folder / f'top_potsdam_{tile}_label.tif'
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(COLOURS[label]).save(file)
    return file


def _builder(root, tmp_path, **options):
    return potsdam.builder(data_dir=str(tmp_path / 'tfds'), root=str(root), **({'block_size': 5} | options))


def test_splits_follow_the_rule_of_iic(download, tmp_path):
    splits = stored.examples(_builder(download, tmp_path))
    assert {split: len(examples) for split, examples in splits.items()} == {
        'unlabelled_train': 16,
        'labelled_train': 27,
        'labelled_test': 5,  # a tenth of 48 blocks
    }
    names = [name for examples in splits.values() for name in examples]
    assert len(set(names)) == 48
    assert all(name.startswith('3_10') for name in splits['unlabelled_train'])
    assert all((e['label'] == VOID).all() for e in splits['unlabelled_train'].values())


def test_the_test_split_depends_on_the_seed_alone(download, tmp_path):
    first, again, other = (
        stored.examples(_builder(download, tmp_path / name, seed=seed))['labelled_test'].keys()
        for name, seed in (('a', 1), ('b', 1), ('c', 2))
    )
    assert first == again != other


def test_blocks_are_the_pixels_of_the_halved_tiles(download, tmp_path):
    splits = stored.examples(_builder(download, tmp_path))
    for name, example in (splits['labelled_train'] | splits['labelled_test']).items():
        tile, row, column = name[:4], int(name[5:7]) * 5, int(name[8:10]) * 5
        bands = tifffile.imread(download / '4_Ortho_RGBIR' / f'top_potsdam_{tile}_RGBIR.tif')
        half = np.floor(bands.reshape(20, 2, 20, 2, 4).mean(axis=(1, 3)) + 0.5)
        np.testing.assert_array_equal(example['image'], half[row : row + 5, column : column + 5])
        painted = np.array(Image.open(download / '5_Labels_all' / f'top_potsdam_{tile}_label.tif'))[::2, ::2]
        np.testing.assert_array_equal(COLOURS[example['label']], painted[row : row + 5, column : column + 5])


def test_labels_that_iic_did_not_have_stay_unread(download, tmp_path):
    tile = download / '4_Ortho_RGBIR' / 'top_potsdam_3_10_RGBIR.tif'
    tile.rename(tile.with_name('top_potsdam_2_13_RGBIR.tif'))
    _paint(download, '2_13', np.zeros((40, 40), int))
    splits = stored.examples(_builder(download, tmp_path))
    assert len(splits['unlabelled_train']) == 16
    assert all(name.startswith('2_13') and (e['label'] == VOID).all() for name, e in splits['unlabelled_train'].items())


def test_labels_for_participants_come_before_the_later_ones(download, tmp_path):
    for tile in ('2_10', '2_11'):
        _paint(download, tile, np.full((40, 40), 5), '5_Labels_for_participants')
    splits = stored.examples(_builder(download, tmp_path))
    assert all((e['label'] == 5).all() for e in (splits['labelled_train'] | splits['labelled_test']).values())


def test_the_impure_colours_of_two_official_label_files_are_read(download, tmp_path):
    painted = np.full((40, 40, 3), (252, 255, 0), np.uint8)
    painted[20:] = 9, 222, 221
    Image.fromarray(painted).save(download / '5_Labels_all' / 'top_potsdam_2_10_label.tif')
    splits = stored.examples(_builder(download, tmp_path))
    for name, example in (splits['labelled_train'] | splits['labelled_test']).items():
        if name.startswith('2_10'):
            assert (example['label'] == (4 if int(name[5:7]) < 2 else 2)).all()  # cars above, low vegetation below


def test_a_completed_download_is_prepared_anew(download, tmp_path):
    assert 'unlabelled_train' in stored.examples(_builder(download, tmp_path))
    _paint(download, '3_10', np.zeros((40, 40), int))
    assert 'unlabelled_train' not in stored.examples(_builder(download, tmp_path))


def test_an_interrupted_preparation_leaves_nothing_and_can_be_repeated(download, tmp_path):
    tile = download / '4_Ortho_RGBIR' / 'top_potsdam_2_11_RGBIR.tif'
    whole = tile.read_bytes()
    tile.write_bytes(whole[: len(whole) // 2])  # the blocks of tile 2_10 are written by then
    with pytest.raises(DataError, match=r'2_11_RGBIR\.tif: cannot read'):
        stored.examples(_builder(download, tmp_path))
    assert not list((tmp_path / 'tfds').rglob('dataset_info.json'))
    tile.write_bytes(whole)
    assert sum(len(examples) for examples in stored.examples(_builder(download, tmp_path)).values()) == 48


def test_potsdam_3_merges_pairs_of_classes(download, tmp_path):
    six, three = (stored.examples(_builder(download, tmp_path, num_classes=count))['labelled_test'] for count in (6, 3))
    merged = np.array([0, 1, 2, 2, 0, 1])  # roads+cars, buildings+clutter, vegetation+trees
    assert six.keys() == three.keys()
    for name in six:
        np.testing.assert_array_equal(three[name]['label'], merged[six[name]['label']])


def test_lists_decide_where_they_are_given(download, tmp_path):
    lists = tmp_path / 'lists'
    lists.mkdir()
    (lists / 'labelled_test.txt').write_text('2_10_00_01\n2_11_03_03\n')
    (lists / 'unlabelled_train.txt').write_text('3_10_00_00\n')
    splits = stored.examples(_builder(download, tmp_path, lists=str(lists)))
    assert {split: set(examples) for split, examples in splits.items()} == {
        'labelled_test': {'2_10_00_01', '2_11_03_03'},
        'unlabelled_train': {'3_10_00_00'},
    }
    (lists / 'labelled_test.txt').write_text('1234\n')
    with pytest.raises(DataError, match=r"1 blocks are not in the tiles, the first is '1234'; .* such as 2_10_00_00"):
        stored.examples(_builder(download, tmp_path / 'again', lists=str(lists)))


@pytest.fixture
def prepared(tmp_path):
    """Two blocks as the authors of IIC stored them."""
    root = tmp_path / 'raw'
    for folder in ('imgs', 'gt'):
        (root / folder).mkdir(parents=True)
    for name in ('17', '42'):
        scipy.io.savemat(root / 'imgs' / f'{name}.mat', {'img': RNG.integers(0, 256, (200, 200, 4), dtype=np.uint8)})
    scipy.io.savemat(root / 'gt' / '42.mat', {'gt': RNG.integers(0, 6, (200, 200), dtype=np.int32)})
    (root / 'unlabelled_train.txt').write_text('17\n')
    (root / 'labelled_test.txt').write_text('42\n')
    return root


def test_the_directory_prepared_by_iic_is_read(prepared, tmp_path):
    splits = stored.examples(_builder(prepared, tmp_path))
    assert {split: list(examples) for split, examples in splits.items()} == {'unlabelled_train': ['17'], 'labelled_test': ['42']}
    for name, example in (splits['unlabelled_train'] | splits['labelled_test']).items():
        np.testing.assert_array_equal(example['image'], scipy.io.loadmat(prepared / 'imgs' / f'{name}.mat')['img'])
    assert (splits['unlabelled_train']['17']['label'] == VOID).all()
    np.testing.assert_array_equal(splits['labelled_test']['42']['label'], scipy.io.loadmat(prepared / 'gt' / '42.mat')['gt'])


@pytest.mark.parametrize(
    ('folder', 'content', 'message'),
    [
        ('gt', {'gt': np.full((200, 200), 6, np.int32)}, r'42\.mat: unknown label ids \[6\]'),
        ('gt', {'gt': np.full((200, 200), 256, np.int32)}, r"42\.mat: expected whole numbers from 0 to 255 in 'gt'"),
        ('gt', {'gt': np.zeros((5, 6), np.int32)}, r'the label map is 6 x 5 pixels but its image 200 x 200'),
        ('gt', {'label': np.zeros((5, 6), np.int32)}, r"42\.mat: no variable 'gt'; found \['label'\]"),
        ('imgs', {'img': np.zeros((200, 200, 3), np.uint8)}, r'four bands \(R, G, B, IR\), found shape \(200, 200, 3\)'),
        ('imgs', None, r'42\.mat: not a readable MATLAB file'),
    ],
)
def test_what_does_not_fit_in_the_prepared_directory_is_named(prepared, tmp_path, folder, content, message):
    file = prepared / folder / '42.mat'
    if content is None:
        file.write_bytes(file.read_bytes()[:1000])
    else:
        scipy.io.savemat(file, content)
    with pytest.raises(DataError, match=message):
        stored.examples(_builder(prepared, tmp_path))


def test_what_does_not_fit_is_named(download, tmp_path):
    with pytest.raises(DataError, match=r'no such directory; set --config.data.root'):
        _builder(tmp_path / 'nowhere', tmp_path)
    with pytest.raises(DataError, match=r'no tiles top_potsdam_<a>_<b>_RGBIR\.tif'):
        _builder(download / '5_Labels_all', tmp_path)
    with pytest.raises(DataError, match=r'found data.num_classes=4'):
        _builder(download, tmp_path, num_classes=4)
    label = download / '5_Labels_all' / 'top_potsdam_2_10_label.tif'
    Image.fromarray(np.full((40, 40, 3), 9, np.uint8)).save(label)
    with pytest.raises(DataError, match=r'2_10_label\.tif: unknown label colour \(9, 9, 9\)'):
        stored.examples(_builder(download, tmp_path))
    Image.fromarray(COLOURS[np.zeros((38, 40), int)]).save(label)
    with pytest.raises(DataError, match=r'2_10_label\.tif: the label map is 40 x 38 pixels but its image 40 x 40'):
        stored.examples(_builder(download, tmp_path))
    tile = download / '4_Ortho_RGBIR' / 'top_potsdam_3_10_RGBIR.tif'
    tile.write_bytes(tile.read_bytes()[:3000])
    with pytest.raises(DataError, match=r'3_10_RGBIR\.tif: cannot read'):
        stored.examples(_builder(download, tmp_path))
    tifffile.imwrite(tile, np.zeros((8, 8, 4), np.uint8), photometric='rgb')
    with pytest.raises(DataError, match=r'3_10_RGBIR\.tif: at half size smaller than a block of 5 x 5'):
        stored.examples(_builder(download, tmp_path))
    for file in (download / '5_Labels_all').iterdir():
        file.unlink()
    tile.unlink()
    with pytest.raises(DataError, match=r'0 of 32 blocks have labels'):
        stored.examples(_builder(download, tmp_path))


def test_a_real_tile_goes_through(shared_data, tmp_path):
    """A crop of ISPRS Potsdam, in the formats of the download; its infrared band is not in the sample."""
    sample = shared_data / 'aerial_isprs_samples'
    name = 'potsdam_2_10_0_0_512_512'
    rgb = np.array(Image.open(sample / 'images' / f'{name}.png').convert('RGB'))
    ids = np.array(Image.open(sample / 'labels' / f'{name}.png'))  # 0 is the boundary, others IIC's order plus 1
    ids = np.where(ids == 0, 6, ids)
    root = tmp_path / 'raw'
    root.mkdir()
    bands = np.dstack([rgb, rgb[..., 0]])
    tifffile.imwrite(root / 'top_potsdam_2_10_RGBIR.tif', bands, photometric='rgb', extrasamples=['unspecified'])
    Image.fromarray(COLOURS[ids - 1]).save(root / 'top_potsdam_2_10_label.tif')
    splits = stored.examples(_builder(root, tmp_path, block_size=32))
    image, label = np.zeros((256, 256, 4), np.uint8), np.zeros((256, 256), np.uint8)
    for block, example in (splits['labelled_train'] | splits['labelled_test']).items():
        row, column = (int(part) * 32 for part in block.split('_')[2:])
        image[row : row + 32, column : column + 32] = example['image']
        label[row : row + 32, column : column + 32] = example['label']
    np.testing.assert_array_equal(image, np.floor(bands.reshape(256, 2, 256, 2, 4).mean(axis=(1, 3)) + 0.5))
    np.testing.assert_array_equal(label, ids[::2, ::2] - 1)
