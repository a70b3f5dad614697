import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.data import builder as builders
from ar_seg_jax.data import clevrtex
from ar_seg_jax.data.limits import DataError
from tests.support import stored

RNG = np.random.default_rng(0)


def _write(root, variant, count):
    """Images in directories of hundreds, as the archives have them."""
    for number in range(count):
        place = root / f'clevrtex_{variant}' / str(number // 7)
        place.mkdir(parents=True, exist_ok=True)
        name = f'CLEVRTEX_{variant}_{number:06d}'
        Image.fromarray(RNG.integers(0, 256, (240, 320, 4), dtype=np.uint8)).save(place / f'{name}.png', compress_level=0)
        mask = Image.fromarray(RNG.integers(0, 4, (60, 80), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1), 'P')
        mask.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
        mask.save(place / f'{name}_flat.png', compress_level=0)
        (place / f'{name}.json').write_text('{}')


def _builder(tmp_path, **options):
    return clevrtex.builder(data_dir=str(tmp_path / 'tfds'), root=str(tmp_path / 'raw'), **options)


def test_the_first_tenth_is_test_and_the_next_val_as_crops_of_the_middle(tmp_path):
    _write(tmp_path / 'raw', 'full', 15)
    data = _builder(tmp_path, size=32)
    splits = stored.examples(data)
    names = [f'CLEVRTEX_full_{number:06d}' for number in range(15)]
    # Its authors' loader has int(0.1 * 15) = 1 for the end of test, and int(0.2 * 15) = 3 for that of val.
    assert {split: sorted(found) for split, found in splits.items()} == {'test': names[:1], 'val': names[1:3], 'train': names[3:]}
    assert data.builder_config.instances and data.builder_config.rescale == 32 / 192
    box = (64, 24, 256, 216)
    for name, example in splits['train'].items():
        (path,) = (tmp_path / 'raw').rglob(f'{name}.png')
        image = Image.open(path).convert('RGB').crop(box).resize((32, 32), Image.Resampling.BILINEAR)
        mask = Image.open(path.with_name(f'{name}_flat.png')).crop(box).resize((32, 32), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(example['image'], np.array(image))
        np.testing.assert_array_equal(example['label'], np.array(mask))


def test_other_objects_than_those_of_training_are_not_split(tmp_path):
    _write(tmp_path / 'raw', 'outd', 3)
    splits = stored.examples(_builder(tmp_path, variant='outd', size=16))
    assert list(splits) == ['test'] and len(splits['test']) == 3


def _lose(name):
    return lambda root: next(root.rglob(name)).unlink()


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (lambda root: None, {'variant': 'fog'}, "full, outd, camo, .* found 'fog' and 128"),
        (lambda root: None, {'variant': 'camo'}, r'clevrtex_camo: no such directory; unpack the archives of CLEVRTEX camo'),
        (_lose('*_000001.png'), {}, r'expected CLEVRTEX_full_000001\.png, found 0/CLEVRTEX_full_000002\.png next; complete'),
        (_lose('*_000001_flat.png'), {}, r'CLEVRTEX_full_000001_flat\.png: no such file, but its image is there'),
        (lambda root: [path.unlink() for path in root.rglob('*.png')], {}, r'no images CLEVRTEX_full_<six digits>\.png'),
        (lambda root: next(root.rglob('*2.png')).write_bytes(b'\x89PNG\r\n\x1a\n cut'), {}, r'2\.png: (damaged|not an image)'),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, options, message):
    _write(tmp_path / 'raw', 'full', 3)
    change(tmp_path / 'raw')
    with pytest.raises(DataError, match=message):
        builders.prepare(_builder(tmp_path, **options))
