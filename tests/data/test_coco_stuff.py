import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.data import builder as builders
from ar_seg_jax.data import coco_stuff, images, pipeline
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID

RNG = np.random.default_rng(0)
SKY, PLANT, GROUND, PERSON, WALL = 156, 93, 110, 0, 170


def _add(root, split, name, ids, grey=False):
    image = RNG.integers(0, 256, (*ids.shape, 3), dtype=np.uint8)
    for folder in (root / f'{split}2017', root / 'stuffthingmaps' / f'{split}2017'):
        folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0] if grey else image).save(root / f'{split}2017' / f'{name}.jpg')
    label = Image.fromarray(ids.astype(np.uint8), 'P')
    label.putpalette(list(RNG.integers(0, 256, 768)))
    label.save(root / 'stuffthingmaps' / f'{split}2017' / f'{name}.png')


def _map(height, width, *shares):
    """A label map with these (fine id, share of columns), 255 in the rest."""
    ids, column = np.full((height, width), 255), 0
    for fine, share in shares:
        ids[:, column : column + round(share * width)] = fine
        column += round(share * width)
    return ids


@pytest.fixture
def coco(tmp_path):
    root = tmp_path / 'coco'
    _add(root, 'train', '000000000001', _map(400, 480, (SKY, 0.5), (PLANT, 0.3)))
    _add(root, 'train', '000000000002', _map(400, 480, (SKY, 0.45), (PERSON, 0.55)))  # too little of it is of interest
    _add(root, 'train', '000000000003', _map(300, 480, (GROUND, 1.0)))  # too low
    _add(root, 'train', '000000000004', _map(400, 480, (WALL, 0.9)), grey=True)
    _add(root, 'val', '000000000005', _map(360, 366, (GROUND, 0.8), (181, 0.1)))
    return root


def _examples(root, tmp_path, split, **options):
    data = coco_stuff.builder(data_dir=str(tmp_path / 'tfds'), root=str(root), **options)
    source = pipeline.source(builders.prepare(data), split)
    return {e['id']: e for e in (pipeline.decode(source[index]) for index in range(len(source)))}


@pytest.mark.parametrize(
    ('num_classes', 'kept'),
    [(3, {'000000000001'}), (15, {'000000000001', '000000000004'}), (27, {'000000000001', '000000000004'})],
)
def test_images_are_chosen_by_the_rule_of_iic(coco, tmp_path, num_classes, kept):
    assert _examples(coco, tmp_path, 'train', num_classes=num_classes).keys() == kept


def _in_lists(shared_data, name):
    """Ids of both splits of one of IIC's curated lists."""
    files = (shared_data / 'iic_cocostuff_lists' / f'{split}2017_{name}.txt' for split in ('train', 'val'))
    return {line for file in files for line in file.read_text().split()}


@pytest.mark.parametrize(('name', 'num_classes'), [('Coco164kFew_Stuff_6', 3), ('Coco164kFull_Stuff_Coarse_7', 15)])
def test_rebuilt_lists_agree_with_those_of_iic_on_real_images(shared_data, tmp_path, name, num_classes):
    sample, listed = shared_data / 'cocostuff_sample', _in_lists(shared_data, name)
    with (sample / 'splits.csv').open() as file:
        known = [row['id'] for row in csv.DictReader(file)]
    chosen = {
        identifier
        for identifier in known
        if coco_stuff._of_interest(images.read_ids(sample / 'labels' / f'{identifier}.png'), num_classes)
    }
    assert chosen == listed & set(known) and 0 < len(chosen) < len(known)


def test_unlabelled_pixels_are_sky_where_iics_code_has_them_so(coco, tmp_path):
    options = {'num_classes': 3, 'unlabelled': 'sky', 'geometry': 'iic'}
    (example,) = _examples(coco, tmp_path, 'val', **options).values()
    plain = _examples(coco, tmp_path, 'val', **{**options, 'unlabelled': 'void'})['000000000005']
    ids = images.resample(np.uint8(_map(360, 366, (GROUND, 0.8), (181, 0.1))), 0.33, label=True)
    rows = slice((128 - ids.shape[0]) // 2, (128 - ids.shape[0]) // 2 + ids.shape[0])
    columns = slice((128 - ids.shape[1]) // 2, (128 - ids.shape[1]) // 2 + ids.shape[1])
    for label, unlabelled in ((example['label'], 0), (plain['label'], VOID)):
        found = label[rows, columns]
        assert (found[ids == GROUND] == 2).all() and (found[ids == 255] == unlabelled).all() and (found[ids == 181] == VOID).all()
        outside = np.ones(label.shape, bool)
        outside[rows, columns] = False
        assert (label[outside] == VOID).all() and not example['image'][outside].any()
    with pytest.raises(DataError, match=r"data\.unlabelled is 'void' or, for 3 classes, 'sky'; found 'sky' for 15 classes"):
        _examples(coco, tmp_path, 'val', num_classes=15, unlabelled='sky')
    with pytest.raises(DataError, match=r"data\.geometry is 'antialiased', 'iic' or 'picie', found 'opencv'"):
        _examples(coco, tmp_path, 'val', geometry='opencv')
    with pytest.raises(DataError, match=r"'picie' needs data\.crop_size, the side of its squares in pixels; found 0"):
        _examples(coco, tmp_path, 'val', geometry='picie', crop_size=0)


def test_labels_are_those_of_the_version(coco, tmp_path):
    three, fifteen, all27 = (
        np.unique(_examples(coco, tmp_path, 'val', num_classes=count)['000000000005']['label']).tolist() for count in (3, 15, 27)
    )
    assert three == [2, VOID]  # ground; 'solid' is none of the three
    assert fifteen == [9, 12, VOID]  # coarse 21 and 24, from 12
    assert all27 == [21, 24, VOID]


def test_images_are_a_third_of_their_size_and_padded_to_the_crop(coco, tmp_path):
    example = _examples(coco, tmp_path, 'val', num_classes=3)['000000000005']
    assert example['image'].shape == (128, 128, 3)
    height, width = round(360 * 0.33), round(366 * 0.33)
    source = Image.open(coco / 'val2017' / '000000000005.jpg').resize((width, height), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(example['image'][:height, :width], np.array(source))
    assert not example['image'][height:].any() and not example['image'][:, width:].any()
    assert (example['label'][height:] == VOID).all() and (example['label'][:, width:] == VOID).all()


def test_the_geometry_of_picie_is_a_square_from_the_middle(coco, tmp_path):
    side = 40
    options = {'num_classes': 27, 'geometry': 'picie', 'crop_size': side}
    examples = _examples(coco, tmp_path, 'train', **options) | _examples(coco, tmp_path, 'val', **options)
    for split, name in (('train', '000000000001'), ('val', '000000000005')):
        source = Image.open(coco / f'{split}2017' / f'{name}.jpg')
        width, height = int(side * source.width / source.height), side
        left = round((width - side) / 2)
        box = (left, 0, left + side, side)
        ids = np.array(Image.open(coco / 'stuffthingmaps' / f'{split}2017' / f'{name}.png').resize((width, height), 0).crop(box))
        np.testing.assert_array_equal(
            examples[name]['image'], source.resize((width, height), Image.Resampling.BILINEAR).crop(box)
        )
        np.testing.assert_array_equal(
            examples[name]['label'], np.vectorize({93: 22, 110: 21, 156: 23, 181: 24, 255: VOID}.get)(ids)
        )


def test_the_version_of_27_classes_has_12_things_and_15_kinds_of_stuff(coco, tmp_path):
    def groups(num_classes):
        data = coco_stuff.builder(data_dir=str(tmp_path / 'tfds'), root=str(coco), num_classes=num_classes)
        return [entry.group for entry in data.builder_config.classes]

    assert groups(27) == ['things'] * 12 + ['stuff'] * 15
    assert set(groups(15)) == set(groups(3)) == {''}
    # COCO itself numbers 91 things before 91 kinds of stuff.
    for fine, label in coco_stuff.label_mapping(27).items():
        assert groups(27)[label] == ('things' if fine < 91 else 'stuff')


def test_lists_decide_where_they_are_given(coco, tmp_path):
    chosen = tmp_path / 'list.txt'
    chosen.write_text('000000000002\n000000000003\n')
    assert _examples(coco, tmp_path, 'train', train_list=str(chosen)).keys() == {'000000000002', '000000000003'}
    chosen.write_text('000000000002\n000000000099\n')
    with pytest.raises(DataError, match=r'1 of 2 listed images are not in .*train2017, the first is 000000000099'):
        _examples(coco, tmp_path, 'train', train_list=str(chosen))
    chosen.write_text('')
    with pytest.raises(DataError, match=r"split 'train' is empty: .*list\.txt lists no ids"):
        _examples(coco, tmp_path, 'train', train_list=str(chosen))


def test_a_completed_download_is_prepared_anew(coco, tmp_path):
    before = _examples(coco, tmp_path, 'train')
    _add(coco, 'train', '000000000006', _map(400, 400, (WALL, 1.0)))
    assert _examples(coco, tmp_path, 'train').keys() == before.keys() | {'000000000006'}


def test_an_interrupted_preparation_leaves_nothing_and_can_be_repeated(coco, tmp_path):
    label = coco / 'stuffthingmaps' / 'train2017' / '000000000004.png'
    whole = label.read_bytes()
    label.write_bytes(whole[: len(whole) // 2])  # of two images that pass, the first is written by then
    with pytest.raises(DataError, match=r'000000000004\.png: damaged or truncated'):
        _examples(coco, tmp_path, 'train')
    assert not list((tmp_path / 'tfds').rglob('dataset_info.json'))
    label.write_bytes(whole)
    assert _examples(coco, tmp_path, 'train').keys() == {'000000000001', '000000000004'}


def test_what_does_not_fit_is_named(coco, tmp_path):
    with pytest.raises(DataError, match=r'no such directory; set --config.data.root'):
        _examples(tmp_path / 'nowhere', tmp_path, 'train')
    with pytest.raises(DataError, match=r'3, 15 or 27 classes, found data.num_classes=5'):
        _examples(coco, tmp_path, 'train', num_classes=5)
    _add(coco, 'val', '000000000005', _map(400, 400, (182, 1.0)))
    (tmp_path / 'list.txt').write_text('000000000005\n')
    with pytest.raises(DataError, match=r'000000000005\.png: unknown label ids \[182\]'):
        _examples(coco, tmp_path, 'val', val_list=str(tmp_path / 'list.txt'))
    with pytest.raises(DataError, match=r"split 'val' is empty: no image passes the rule"):
        _examples(coco, tmp_path, 'val')
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(coco / 'stuffthingmaps' / 'val2017' / '000000000005.png')
    with pytest.raises(DataError, match=r'the label map is 6 x 5 pixels but its image 400 x 400'):
        _examples(coco, tmp_path, 'val', val_list=str(tmp_path / 'list.txt'))
    shutil.rmtree(coco / 'stuffthingmaps')
    with pytest.raises(DataError, match=r'stuffthingmaps/train2017: no such directory; unpack'):
        _examples(coco, tmp_path, 'train')


def test_the_table_of_coarse_classes_is_that_of_the_sample(shared_data):
    """Whose table was read from IIC's own, so it is a second source."""
    entries = json.loads((shared_data / 'cocostuff_sample' / 'classes.json').read_text())['classes']
    mapping = coco_stuff.label_mapping(27)
    for entry in entries:
        assert mapping[entry['id']] == entry['coarse27'], entry


def test_real_images_in_the_raw_layout_go_through(shared_data, tmp_path):
    sample, root = shared_data / 'cocostuff_sample', tmp_path / 'coco'
    with (sample / 'splits.csv').open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for source, target, suffix in (('images', '', 'jpg'), ('labels', 'stuffthingmaps', 'png')):
            folder = root / target / row['split']
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(sample / source / f'{row["id"]}.{suffix}', folder)
    for split in ('train', 'val'):
        names = [row['id'] for row in rows if row['split'] == f'{split}2017']
        (tmp_path / f'{split}.txt').write_text('\n'.join(names))
        examples = _examples(root, tmp_path, split, num_classes=27, **{f'{split}_list': str(tmp_path / f'{split}.txt')})
        assert examples.keys() == set(names)
        for name, example in examples.items():
            ids = images.rescale(images.read_ids(sample / 'labels' / f'{name}.png'), 0.33, label=True)
            by_id = np.full(256, VOID)
            for entry in json.loads((sample / 'classes.json').read_text())['classes']:
                by_id[entry['id']] = entry['coarse27']
            height, width = ids.shape
            np.testing.assert_array_equal(example['label'][:height, :width], by_id[ids])
