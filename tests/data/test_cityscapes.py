"""Cityscapes in the layout of its download, with small images."""

import shutil

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.data import builder as builders
from ar_seg_jax.data import cityscapes, pipeline
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID

RNG = np.random.default_rng(0)
# Names of classes from id 7 on, as cityscapesScripts lists them, and those that have instances.
NAMES = (
    'road, sidewalk, parking, rail track, building, wall, fence, guard rail, bridge, tunnel, pole, polegroup, traffic light, '
    'traffic sign, vegetation, terrain, sky, person, rider, car, truck, bus, caravan, trailer, train, motorcycle, bicycle'
)
INSTANCES = 'person, rider, car, truck, bus, caravan, trailer, train, motorcycle, bicycle'


def _add(root, split, city, number, kind=''):
    """An image of 40 x 20 pixels and, if there is to be one, its label map of this kind."""
    name = f'{city}_000000_{number:06d}'
    folder = root / 'leftImg8bit' / split / city
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (20, 40, 3), dtype=np.uint8)).save(folder / f'{name}_leftImg8bit.png')
    if kind:
        (root / kind / split / city).mkdir(parents=True, exist_ok=True)
        ids = RNG.integers(0, 34, (20, 40), dtype=np.uint8)
        Image.fromarray(ids).save(root / kind / split / city / f'{name}_{kind}_labelIds.png')
        Image.fromarray(ids + 1).save(root / kind / split / city / f'{name}_{kind}_instanceIds.png')  # which nobody reads


@pytest.fixture
def download(tmp_path):
    root = tmp_path / 'raw'
    _add(root, 'train', 'aachen', 1, 'gtFine')
    _add(root, 'train', 'ulm', 1, 'gtFine')
    _add(root, 'val', 'munster', 7, 'gtFine')
    _add(root, 'test', 'berlin', 3)
    _add(root, 'train_extra', 'bayreuth', 4)
    return root


def _examples(root, tmp_path, **options):
    data = builders.prepare(cityscapes.builder(data_dir=str(tmp_path / 'tfds'), root=str(root), **options))
    sources = {split: pipeline.source(data, split) for split in data.info.splits}
    return {split: {e['id']: e for e in map(pipeline.decode, source)} for split, source in sources.items()}


def test_images_are_squares_from_the_middle_with_the_labels_of_27_classes(download, tmp_path):
    splits = _examples(download, tmp_path, side=10)
    assert {split: list(examples) for split, examples in splits.items()} == {
        'train': ['aachen_000000_000001', 'ulm_000000_000001'],
        'val': ['munster_000000_000007'],
        'test': ['berlin_000000_000003'],
        'train_extra': ['bayreuth_000000_000004'],
    }
    for split in ('train', 'val'):
        for name, example in splits[split].items():
            place = f'{split}/{name.partition("_")[0]}/{name}'
            image = Image.open(download / 'leftImg8bit' / f'{place}_leftImg8bit.png')
            ids = Image.open(download / 'gtFine' / f'{place}_gtFine_labelIds.png')
            box = (5, 0, 15, 10)
            np.testing.assert_array_equal(example['image'], image.resize((20, 10), Image.Resampling.BILINEAR).crop(box))
            ids = np.array(ids.resize((20, 10), Image.Resampling.NEAREST).crop(box)).astype(int)
            np.testing.assert_array_equal(example['label'], np.where(ids < 7, VOID, ids - 7))


def test_splits_without_labels_are_not_annotated_and_coarse_labels_are_read_where_they_are(download, tmp_path):
    splits = _examples(download, tmp_path)
    assert all((example['label'] == VOID).all() for split in ('test', 'train_extra') for example in splits[split].values())
    _add(download, 'train_extra', 'bayreuth', 4, 'gtCoarse')
    (example,) = _examples(download, tmp_path, side=0)['train_extra'].values()
    ids = np.array(Image.open(download / 'gtCoarse/train_extra/bayreuth/bayreuth_000000_000004_gtCoarse_labelIds.png')).astype(
        int
    )
    assert example['image'].shape == (20, 40, 3)
    np.testing.assert_array_equal(example['label'], np.where(ids < 7, VOID, ids - 7))


def test_classes_are_those_of_the_data_set_and_things_are_those_with_instances():
    assert ', '.join(entry.name for entry in cityscapes.CLASSES) == NAMES
    assert ', '.join(entry.name for entry in cityscapes.CLASSES if entry.group == 'things') == INSTANCES
    assert {entry.group for entry in cityscapes.CLASSES} == {'things', 'stuff'}


def test_a_completed_download_is_prepared_anew(download, tmp_path):
    assert len(_examples(download, tmp_path)['val']) == 1
    _add(download, 'val', 'munster', 8, 'gtFine')
    assert len(_examples(download, tmp_path)['val']) == 2


def test_what_does_not_fit_is_named(download, tmp_path):
    with pytest.raises(DataError, match=r'nowhere: no such directory; set --config.data.root'):
        _examples(tmp_path / 'nowhere', tmp_path)
    with pytest.raises(DataError, match=r'gtFine: no directory leftImg8bit/train, val, test or train_extra; unpack'):
        _examples(download / 'gtFine', tmp_path)
    with pytest.raises(DataError, match=r'data\.side is a number of pixels, or 0 .*; found -1'):
        _examples(download, tmp_path, side=-1)
    label = download / 'gtFine/train/ulm/ulm_000000_000001_gtFine_labelIds.png'
    Image.fromarray(np.full((20, 40), 34, np.uint8)).save(label)
    with pytest.raises(DataError, match=r'ulm_000000_000001_gtFine_labelIds\.png: unknown label ids \[34\]'):
        _examples(download, tmp_path)
    Image.fromarray(np.zeros((20, 39), np.uint8)).save(label)
    with pytest.raises(DataError, match=r'the label map is 39 x 20 pixels but its image 40 x 20'):
        _examples(download, tmp_path)
    label.unlink()
    message = r'gtFine/train: 1 of 2 label maps are missing, the first is ulm/ulm_000000_000001_gtFine_labelIds\.png; complete'
    with pytest.raises(DataError, match=message):
        _examples(download, tmp_path)
    shutil.rmtree(download / 'gtFine/train')
    with pytest.raises(DataError, match=r'gtFine/train: no such directory; unpack the package with gtFine/train'):
        _examples(download, tmp_path)
    shutil.rmtree(download / 'leftImg8bit/train/ulm')
    shutil.rmtree(download / 'leftImg8bit/train/aachen')
    with pytest.raises(DataError, match=r'leftImg8bit/train: no images <city>/<name>_leftImg8bit\.png; unpack'):
        _examples(download, tmp_path)
