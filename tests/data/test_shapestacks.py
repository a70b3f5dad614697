import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.data import builder as builders
from ar_seg_jax.data import shapestacks
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID
from tests.support import stored

RNG = np.random.default_rng(0)
SCENARIOS = {
    'train': ['env_ccs-hard-h=2-vcom=0-vpsf=0-v=60', 'env_blocks-easy-h=3-vcom=1-vpsf=0-v=2'],
    'eval': ['e'],
    'test': ['t'],
}
OBJECTS = RNG.integers(0, 5, (56, 56)).repeat(4, axis=0).repeat(4, axis=1)


@pytest.fixture
def root(tmp_path):
    """Two cameras of every scenario, in the names of the archives."""
    root = tmp_path / 'raw'
    (root / 'splits' / 'default').mkdir(parents=True)
    for split, scenarios in SCENARIOS.items():
        (root / 'splits' / 'default' / f'{split}.txt').write_text('\n'.join(scenarios) + '\n')
        for scenario in scenarios:
            (root / 'recordings' / scenario).mkdir(parents=True)
            (root / 'iseg' / scenario).mkdir(parents=True)
            for camera in (3, 12):
                image = RNG.integers(0, 256, (224, 224, 3), dtype=np.uint8)
                name = f'rgb-w=5-f=2-l=1-c=unique-cam_{camera}-mono-0.png'
                Image.fromarray(image).save(root / 'recordings' / scenario / name, compress_level=0)
                levels = np.stack([32 * OBJECTS, *RNG.integers(0, 256, (2, 224, 224))], axis=-1).astype(np.uint8)
                mask = root / 'iseg' / scenario / f'iseg-w=0-f=0-l=0-c=original-cam_{camera}-mono-0.map'
                Image.fromarray(levels).save(mask, 'png', compress_level=0)
            (root / 'recordings' / scenario / 'log.txt').touch()
    return root


def _builder(root, tmp_path, **options):
    return shapestacks.builder(data_dir=str(tmp_path / 'tfds'), root=str(root), **options)


def test_splits_follow_the_lists_and_crops_those_of_genesis(root, tmp_path):
    splits = stored.examples(_builder(root, tmp_path))
    assert {split: len(found) for split, found in splits.items()} == {'train': 4, 'val': 2, 'test': 2}
    assert {name.split('/')[0] for name in splits['train']} == set(SCENARIOS['train'])
    place = np.floor(np.arange(64) * np.float32(196 / 64)).astype(int) + 14  # PyTorch's nearest, in a crop from 14 to 210
    for name, example in splits['train'].items():
        image = (
            Image.open(root / 'recordings' / f'{name}.png').crop((14, 14, 210, 210)).resize((64, 64), Image.Resampling.BILINEAR)
        )
        np.testing.assert_array_equal(example['image'], np.array(image))
        np.testing.assert_array_equal(example['label'], OBJECTS[place][:, place])


def test_images_can_do_without_masks(root, tmp_path):
    for path in root.rglob('*.map'):
        path.unlink()
    with pytest.raises(DataError, match=r'cam_12-mono-0\.map: no such file; unpack the instance masks .*data\.masks=False'):
        _builder(root, tmp_path)
    splits = stored.examples(_builder(root, tmp_path, masks=False))
    assert all((example['label'] == VOID).all() for found in splits.values() for example in found.values())


def _small(root):
    Image.new('RGB', (100, 100)).save(next((root / 'recordings' / 'e').glob('*_3-*.png')))


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (lambda root: None, {'lists': 'css_all'}, r'splits/css_all: no such directory; unpack the splits'),
        (lambda root: (root / 'splits/default/eval.txt').unlink(), {}, r'eval\.txt: no such file'),
        (
            lambda root: (root / 'splits/default/eval.txt').write_text('gone\n'),
            {},
            r'gone: no such directory; .*eval\.txt lists it',
        ),
        (lambda root: [p.unlink() for p in (root / 'recordings/e').glob('*')], {}, r'eval\.txt: its 1 scenarios have no images'),
        (_small, {'masks': False}, r'cam_3-mono-0\.png: expected 224 x 224 pixels, found 100 x 100'),
        (_small, {}, r'cam_3-mono-0\.map: the label map is 224 x 224 pixels but its image 100 x 100'),
    ],
)
def test_what_does_not_fit_is_named(root, tmp_path, change, options, message):
    change(root)
    with pytest.raises(DataError, match=message):
        builders.prepare(_builder(root, tmp_path, **options))
