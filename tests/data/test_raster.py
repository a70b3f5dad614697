"""Rasters read in parts, beside ordinary reading of the same files."""

import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from ar_seg_jax.data import coverage, raster, tiff
from ar_seg_jax.data.form import Form
from ar_seg_jax.data.limits import DataError
from tests.support import rasters

rasterio = pytest.importorskip('rasterio', reason='rasterio, of the extra geo, is not installed')
SIZE = 70, 90
EMPTY = np.zeros(SIZE, bool)
EMPTY[:20, :30] = EMPTY[50, 60] = True
DEEP = Form(5, ranges=((1.0, 200.0),) * 5)


def write(path, pixels, **options):
    """By GDAL, bands first."""
    height, width = pixels.shape[1:]
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        mask = options.pop('mask', None)
        sizes = {'height': height, 'width': width, 'count': len(pixels), 'dtype': pixels.dtype.name}
        with rasterio.open(path, 'w', driver='GTiff', **sizes, **options) as file:
            file.write(pixels)
            if mask is not None:
                file.write_mask(mask)
    return path


def stored(path, kind):
    """A file whose pixels at EMPTY have no data in some way, and its form."""
    pixels = np.moveaxis(rasters.smooth(*SIZE, 5), 2, 0)
    emptied = np.where(EMPTY, 0, pixels)
    opaque = np.where(EMPTY, 0, 200).astype(np.uint8)[None]
    match kind:
        case 'nodata':
            return write(path, emptied[:3], nodata=0, photometric='RGB'), Form()
        case 'alpha':
            return write(path, np.concatenate([pixels[:3], opaque]), photometric='RGB', alpha='YES'), Form()
        case 'mask':
            return write(path, pixels[:3], photometric='RGB', mask=~EMPTY, compress='deflate'), Form()
        case 'grey':
            return write(path, emptied[:1], nodata=0), Form()
        case 'grey and alpha':
            return write(path, np.concatenate([pixels[:1], opaque]), alpha='YES'), Form()
        case 'deep':
            return write(path, emptied.astype(np.uint16), nodata=0), DEEP
        case 'deep colours':
            return write(path, emptied[:3].astype(np.uint16), nodata=0), Form(3, ranges=((0.0, 255.0),) * 3)
        case 'no number':
            return write(path, np.where(EMPTY, np.nan, pixels).astype(np.float32)), DEEP
        case 'bands':
            return write(path, emptied, nodata=0, interleave='pixel'), Form(5)


@pytest.mark.parametrize(
    'kind', ['nodata', 'alpha', 'mask', 'grey', 'grey and alpha', 'deep', 'deep colours', 'no number', 'bands']
)
def test_parts_are_those_of_the_image_as_it_is_read_otherwise(tmp_path, kind):
    path, form = stored(tmp_path / 'a.tif', kind)
    image = form.read(path)
    np.testing.assert_array_equal(coverage.covered(path, image), ~EMPTY)
    with raster.opened(path, form) as opened:
        assert opened.size == SIZE
        part, covered = opened.read(slice(10, 60), slice(5, 80))
        np.testing.assert_array_equal(part, image[10:60, 5:80])
        np.testing.assert_array_equal(covered, ~EMPTY[10:60, 5:80])
        assert opened.read(slice(21, 40), slice(0, 90))[1] is None


def test_a_palette_becomes_colours(tmp_path):
    indices = np.random.default_rng(0).integers(0, 4, SIZE, dtype=np.uint8)
    image = Image.fromarray(indices, 'P')
    image.putpalette([1, 2, 3, 200, 0, 0, 0, 255, 9, 7, 7, 255])
    image.save(tmp_path / 'a.tif')
    with raster.opened(tmp_path / 'a.tif', Form()) as opened:
        part, covered = opened.read(slice(0, 70), slice(0, 90))
    np.testing.assert_array_equal(part, np.array(image.convert('RGB')))
    assert covered is None


@pytest.mark.parametrize('size', ['pixels', 'side', 'bytes', 'file'])
def test_what_is_too_large_to_be_read_whole_goes_through_in_parts(tmp_path, monkeypatch, size):
    path, _ = stored(tmp_path / 'a.tif', 'nodata')
    Image.fromarray(np.zeros((70, 90, 3), np.uint8)).save(tmp_path / 'a.png')
    (tmp_path / 'broken.tif').write_bytes(b'II*\0')
    assert not raster.needs_parts(path)
    match size:
        case 'pixels':
            monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 6000)
        case 'side':
            monkeypatch.setattr(raster.limits, 'MAX_SIDE', 80)
        case 'bytes':
            monkeypatch.setattr(raster.tiff, 'MAX_BYTES', 18_000)
        case 'file':
            monkeypatch.setattr(raster.limits, 'MAX_BYTES', 10_000)
    assert raster.needs_parts(path)
    assert not raster.needs_parts(tmp_path / 'a.png') and not raster.needs_parts(tmp_path / 'broken.tif')
    monkeypatch.setattr(raster, '_BYTES_OF_A_BYTE', 0.5)
    assert not raster.needs_parts(path)


def test_files_that_lie_beside_a_raster_are_not_read(tmp_path):
    """GDAL alone takes the mask from the first and nodata from the second: files that could name any others."""
    path = write(tmp_path / 'a.tif', np.moveaxis(rasters.smooth(*SIZE), 2, 0))
    mask = write(tmp_path / 'mask.tif', np.where(EMPTY, 0, 255).astype(np.uint8)[None])
    rasters.virtual(tmp_path / 'a.tif.msk', mask, *SIZE, bands=1)
    flags = ''.join(f'<MDI key="INTERNAL_MASK_FLAGS_{band}">2</MDI>' for band in (1, 2, 3))
    text = (tmp_path / 'a.tif.msk').read_text()
    (tmp_path / 'a.tif.msk').write_text(text.replace('<SRS>', f'<Metadata>{flags}</Metadata><SRS>'))
    value = '<PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand>'
    (tmp_path / 'a.tif.aux.xml').write_text(f'<PAMDataset>{value}</PAMDataset>')
    with rasterio.open(path) as file:
        assert file.nodata == 7 and (file.read_masks(1) == 0).any()
    with raster.opened(path, Form()) as opened:
        assert opened.read(slice(0, 70), slice(0, 90))[1] is None
        assert opened.dataset.nodata is None


@pytest.mark.parametrize(
    ('pixels', 'options', 'form', 'message'),
    [
        (np.zeros((3, 8, 8), np.uint16), {}, Form(), 'expected 8 bits, as the training images have, found uint16'),
        (np.zeros((4, 8, 8), np.uint16), {}, DEEP, 'expected 5 bands, found 4 of uint16; set --config.data.channels=4'),
        (np.zeros((5, 8, 8), np.float64), {}, DEEP, 'expected numbers of 8, 16 or 32 bits, found float64'),
        (np.zeros((1, 8, 8), np.uint8), {'nbits': 1}, Form(), 'expected numbers of 8, 16 or 32 bits, found fewer'),
    ],
)
def test_rasters_that_are_not_like_the_training_images_are_refused(tmp_path, pixels, options, form, message):
    path = write(tmp_path / 'a.tif', pixels, **options)
    with pytest.raises(DataError, match=message), raster.opened(path, form):
        pass


def _refusal(path):
    with pytest.raises(DataError) as refused, raster.opened(path, Form()):
        pass
    return str(refused.value)


def test_odd_files_are_refused(tmp_path, monkeypatch):
    pixels = np.zeros((3, 40, 40), np.uint8)
    tifffile.imwrite(tmp_path / 'turned.tif', pixels[0], extratags=[(274, 3, 1, 6, True)])
    assert 'orientation 6, expected 1 of a large raster' in _refusal(tmp_path / 'turned.tif')
    path = write(tmp_path / 'whole.tif', pixels, blockysize=40)
    virtual = rasters.virtual(tmp_path / 'a.vrt', path, 40, 40)
    virtual.write_text(virtual.read_text().replace('Red', 'Cyan'))
    assert 'expected red, green and blue, found cyan, green, blue' in _refusal(virtual)
    monkeypatch.setattr(raster, '_MAX_BLOCK', 1000)
    assert 'pieces of 40 x 40 pixels are too large' in _refusal(path)
    monkeypatch.setattr(raster, '_MAX_SIDE', 30)
    assert '40 x 40 pixels, the limit is 30 a side' in _refusal(path)


def test_a_damaged_piece_is_told_with_its_rows(tmp_path):
    path = write(tmp_path / 'a.tif', np.moveaxis(rasters.smooth(*SIZE), 2, 0), compress='deflate')
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[-1]
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    with raster.opened(path, Form()) as opened, pytest.raises(DataError, match='cannot read rows 40 to 70'):
        opened.read(slice(40, 70), slice(0, 90))


def test_without_rasterio_the_extra_is_named(tmp_path, monkeypatch):
    path, form = stored(tmp_path / 'a.tif', 'nodata')
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    with pytest.raises(DataError, match=r"need rasterio: pip install 'ar_seg_jax\[geo\]'"), raster.opened(path, form):
        pass


def test_a_mask_in_a_file_is_found(tmp_path):
    path, _ = stored(tmp_path / 'a.tif', 'mask')
    np.testing.assert_array_equal(tiff.mask(path), ~EMPTY)
    assert tiff.mask(stored(tmp_path / 'b.tif', 'nodata')[0]) is None
