"""Pixels without data, from the file to the batch and the label map."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from ar_seg_jax.data import builder as builders
from ar_seg_jax.data import coverage, folder, pipeline
from ar_seg_jax.data.form import Form
from ar_seg_jax.interfaces import VOID

RNG = np.random.default_rng(0)
EMPTY = np.zeros((12, 10), bool)
EMPTY[:5, :4] = EMPTY[9, 7] = True


def _write(path, kind):
    """An image whose pixels at EMPTY have no data, said in one of several ways."""
    pixels = RNG.integers(1, 255, (*EMPTY.shape, 3), dtype=np.uint8)
    opaque = np.where(EMPTY, 0, 200).astype(np.uint8)[..., None]
    nodata = {'extratags': [(42113, 2, 0, '7', True)]}
    match kind:
        case 'png':
            Image.fromarray(np.concatenate([pixels, opaque], 2)).save(path.with_suffix('.png'))
            return path.with_suffix('.png'), Form()
        case 'turned':
            exif = Image.Exif()
            exif[0x0112] = 6
            whole = np.rot90(np.concatenate([pixels, opaque], 2))
            Image.fromarray(whole.copy()).save(path.with_suffix('.png'), exif=exif)
            return path.with_suffix('.png'), Form()
        case 'alpha':
            tifffile.imwrite(path, np.concatenate([pixels, opaque], 2), photometric='rgb', extrasamples=['unassalpha'])
            return path, Form()
        case 'nodata':
            tifffile.imwrite(path, np.where(EMPTY[..., None], 7, pixels).astype(np.uint8), photometric='rgb', **nodata)
            return path, Form()
        case 'bands':
            deep = np.where(EMPTY[..., None], 7, RNG.integers(100, 5000, (*EMPTY.shape, 5))).astype(np.uint16)
            tifffile.imwrite(path, deep, photometric='minisblack', planarconfig='contig', **nodata)
            return path, Form(5, ranges=((100.0, 5000.0),) * 5)
        case 'nan':
            numbers = np.where(EMPTY[..., None] & [True, False, False, False], np.nan, 1).astype(np.float32)
            tifffile.imwrite(path, numbers, photometric='minisblack', planarconfig='contig')
            return path, Form(4, ranges=((0.0, 1.0),) * 4)


@pytest.mark.parametrize('kind', ['png', 'turned', 'alpha', 'nodata', 'bands', 'nan'])
def test_pixels_without_data_are_found(tmp_path, kind):
    path, form = _write(tmp_path / 'a.tif', kind)
    np.testing.assert_array_equal(coverage.covered(path, form.read(path)), ~EMPTY)


def test_an_image_that_is_full_has_none(tmp_path):
    for name in ('a.png', 'a.jpg', 'a.tif'):
        Image.fromarray(RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(tmp_path / name)
        assert coverage.covered(tmp_path / name, Form().read(tmp_path / name)) is None
    Image.fromarray(np.full((6, 5, 4), 255, np.uint8)).save(tmp_path / 'opaque.png')
    assert coverage.covered(tmp_path / 'opaque.png', Form().read(tmp_path / 'opaque.png')) is None


def test_the_nodata_of_a_palette_is_no_colour(tmp_path):
    palette = np.zeros((3, 256), np.uint16)
    palette[:, 7] = 7 * 257
    options = {'photometric': 'palette', 'colormap': palette, 'extratags': [(42113, 2, 0, '7', True)]}
    tifffile.imwrite(tmp_path / 'a.tif', RNG.integers(0, 9, EMPTY.shape, dtype=np.uint8), **options)
    assert coverage.covered(tmp_path / 'a.tif', Form().read(tmp_path / 'a.tif')) is None


@pytest.mark.parametrize('labelled', [False, True])
@pytest.mark.parametrize('block', [0, 5])
def test_training_leaves_them_out_and_no_score_counts_them(tmp_path, labelled, block):
    root = tmp_path / 'pack'
    (root / 'images').mkdir(parents=True)
    _write(root / 'images' / 'a.tif', 'nodata')
    Image.fromarray(RNG.integers(0, 256, (*EMPTY.shape, 3), dtype=np.uint8)).save(root / 'images' / 'full.png')
    labels = RNG.integers(0, 3, EMPTY.shape).astype(np.uint8)
    if labelled:
        (root / 'labels').mkdir()
        Image.fromarray(labels).save(root / 'labels' / 'a.png')
        (root / 'classes.json').write_text(json.dumps({'classes': [{'id': key, 'name': f'c{key}'} for key in range(3)]}))
    data = builders.prepare(folder.builder(data_dir=str(tmp_path / 'tfds'), root=str(root), block_size=block, edges='drop'))
    source = pipeline.source(data, 'train')
    examples = {example['id']: example for example in (pipeline.decode(source[index]) for index in range(len(source)))}
    seen = 0
    for identifier, example in examples.items():
        name, row, column = identifier.split('_') if block else (identifier, 0, 0)
        place = np.s_[int(row) :, int(column) :] if not block else np.s_[int(row) : int(row) + 5, int(column) : int(column) + 5]
        covered = ~EMPTY[place] if name == 'a' else np.ones_like(EMPTY[place])
        np.testing.assert_array_equal(example['mask'], covered)
        expected = np.where(covered & (name == 'a') & labelled, labels[place], VOID)
        np.testing.assert_array_equal(example['label'], expected)
        seen += 1
    assert seen == (2 if not block else 8)
    batches = pipeline.training_iterator(source, crop_size=5, batch_size=2, seed=0)
    batch = next(batches)
    assert batch['mask'].shape == (2, 5, 5) and batch['mask'].dtype == bool
    masked = pipeline.training_iterator(source, crop_size=5, batch_size=2, seed=0, mask_void=True)
    np.testing.assert_array_equal(next(masked)['mask'], batch['mask'] & (batch['label'] != VOID))


@pytest.mark.parametrize('value', [0.1, -3.40282346638529e38, -9999.0])
def test_the_nodata_of_floating_point_numbers_is_found_as_the_file_has_it(value):
    image = np.ones((3, 4, 2), np.float32)
    image[1, 2] = value
    (numbers, there) = coverage.with_values(image, value)
    assert numbers.all() and not there[1, 2] and there.sum() == 11
