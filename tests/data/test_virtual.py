"""Virtual mosaics: what GDAL is told of them, and what is refused before it hears of it."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from ar_seg_jax.data import raster, virtual
from ar_seg_jax.data.form import Form
from ar_seg_jax.data.limits import DataError
from tests.support import rasters

SIZE = 40, 50
PIXELS = rasters.smooth(*SIZE)


@pytest.fixture
def source(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', PIXELS, photometric='rgb')
    return tmp_path / 'a.tif'


def test_a_mosaic_is_read_like_its_files(tmp_path, source):
    pytest.importorskip('rasterio', reason='rasterio, of the extra geo, is not installed')
    path = rasters.virtual(tmp_path / 'a.vrt', source, *SIZE, more='<NoDataValue>0</NoDataValue><Description>odd</Description>')
    path.write_text(path.read_text().replace('rasterXSize="50"', 'rasterXSize="60"'))  # ten columns that no file has
    with raster.opened(path, Form()) as opened:
        assert opened.size == (40, 60) and opened.place.crs.to_epsg() == 32633
        part, covered = opened.read(slice(5, 40), slice(0, 60))
    np.testing.assert_array_equal(part[:, :50], PIXELS[5:])
    assert covered[:, :50].all() and not covered[:, 50:].any()
    assert raster.stamps(path) == [(str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in (path, source)]


def test_a_mosaic_that_gdal_made_is_read_with_its_mask(tmp_path):
    rasterio = pytest.importorskip('rasterio', reason='rasterio, of the extra geo, is not installed')
    shutil = pytest.importorskip('rasterio.shutil')
    mask = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 7 > 0
    options = {'driver': 'GTiff', 'height': SIZE[0], 'width': SIZE[1], 'count': 3, 'dtype': 'uint8', 'photometric': 'RGB'}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / 'a.tif', 'w', **options) as file:
        file.write(np.moveaxis(PIXELS, 2, 0))
        file.write_mask(mask)
    shutil.copy(tmp_path / 'a.tif', tmp_path / 'a.vrt', driver='VRT')
    with raster.opened(tmp_path / 'a.vrt', Form()) as opened:
        part, covered = opened.read(slice(0, 40), slice(0, 50))
    np.testing.assert_array_equal(part, PIXELS)
    np.testing.assert_array_equal(covered, mask)


def test_what_gdal_is_told_names_the_files_that_were_looked_at(tmp_path, source):
    (tmp_path / 'deeper').mkdir()
    (tmp_path / 'deeper' / 'link.tif').symlink_to(source)
    path = rasters.virtual(tmp_path / 'deeper' / 'a.vrt', source, *SIZE, name='link.tif')
    document, sources = virtual.read(path)
    assert sources == (source,) and document.count(f'<SourceFilename relativeToVRT="0" shared="0">{source}<') == 3


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('/vsicurl/http://example.com/a.tif', "its source '/vsicurl/http://example.com/a.tif' is no file on this machine"),
        ('http://example.com/a.tif', 'is no file on this machine'),
        ('WMS:http://example.com/', 'is no file on this machine'),
        ('&lt;GDAL_WMS&gt;&lt;/GDAL_WMS&gt;', 'is no file on this machine'),
        ('PG:dbname=a', 'is no file on this machine'),
        ('GTIFF_DIR:1:a.tif', 'is no file on this machine'),
        ('/vsizip/a.zip/a.tif', 'is no file on this machine'),
        ('missing.tif', 'is no file on this machine'),
        ('/dev/zero', 'is no file on this machine'),
        ('a.png', "its source 'a.png' is no TIFF file"),
        ('other.vrt', "its source 'other.vrt' is no TIFF file"),
    ],
)
def test_sources_that_are_no_tiff_files_of_this_machine_are_refused(tmp_path, source, name, message):
    Image.fromarray(PIXELS).save(tmp_path / 'a.png')
    rasters.virtual(tmp_path / 'other.vrt', source, *SIZE)
    path = rasters.virtual(tmp_path / 'a.vrt', source, *SIZE, name=name)
    with pytest.raises(DataError, match=message):
        virtual.read(path)


@pytest.mark.parametrize(
    ('before', 'after', 'message'),
    [
        ('<VRTDataset ', '<VRTDataset subClass="VRTWarpedDataset" ', 'VRTDataset with subClass='),
        ('band="1"', 'band="1" subClass="VRTDerivedRasterBand"', 'a band of the kind VRTDerivedRasterBand'),
        ('<SimpleSource>', '<PixelFunctionCode>import os</PixelFunctionCode><SimpleSource>', 'found PixelFunctionCode in'),
        ('<SourceBand>', '<OpenOptions><OOI key="a">b</OOI></OpenOptions><SourceBand>', 'found OpenOptions in SimpleSource'),
        ('SimpleSource', 'KernelFilteredSource', 'found KernelFilteredSource in VRTRasterBand'),
        ('<SourceFilename ', '<sourcefilename>http://a</sourcefilename><SourceFilename ', 'found sourcefilename in'),
        ('EPSG:32633', '/etc/passwd', "expected the code or the WKT of a coordinate system, found '/etc/passwd'"),
        ('EPSG:32633', 'http://example.com/', 'expected the code or the WKT'),
        ('<VRTDataset', '<!DOCTYPE a [<!ENTITY b "c">]><VRTDataset', 'defines no names of its own'),
        ('VRTDataset', 'GDAL_WMS', r"expected a virtual mosaic \(VRTDataset\), found 'GDAL_WMS'"),
        ('</VRTDataset>', '', 'not a virtual mosaic'),
    ],
)
def test_what_is_more_than_a_mosaic_of_files_is_refused(tmp_path, source, before, after, message):
    path = rasters.virtual(tmp_path / 'a.vrt', source, *SIZE)
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(DataError, match=message):
        virtual.read(path)
