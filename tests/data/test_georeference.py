"""Where label maps say that they lie, by tifffile's own reading of GeoTIFF."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from ar_seg_jax.data import georeference
from ar_seg_jax.data.classes import Class
from ar_seg_jax.data.limits import DataError

DOUBLE, SHORT, ASCII = 12, 3, 2
KEYS = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32640)  # projected, pixels are areas, UTM zone 40 N
SCALE, TIEPOINT = (0.5, 0.5, 0.0), (0.0, 0.0, 0.0, 321_000.25, 2_780_000.75, 0.0)
TURNED = tuple(np.array([[0.3, 0.4, 0, 5e5], [0.4, -0.3, 0, 3e6], [0, 0, 0, 0], [0, 0, 0, 1]]).ravel().tolist())
PLACES = {
    'scale and tiepoint': [(33550, DOUBLE, 3, SCALE, True), (33922, DOUBLE, 6, TIEPOINT, True)],
    'transformation': [(34264, DOUBLE, 16, TURNED, True)],
}
SYSTEM = [(34735, SHORT, len(KEYS), KEYS, True), (34737, ASCII, 0, 'WGS 84 / UTM zone 40N|', True)]
CLASSES = (Class('field', (10, 200, 30)), Class('roof', (255, 0, 7)))
LABELS = np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), (300, 270))


def _saved(path, tags, **options):
    tifffile.imwrite(path, np.zeros((*LABELS.shape, 3), np.uint8), photometric='rgb', extratags=tags, metadata=None, **options)
    return path


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('byteorder', ['<', '>'])
@pytest.mark.parametrize('bigtiff', [False, True])
def test_a_label_map_lies_where_its_image_does(tmp_path, place, byteorder, bigtiff):
    path = _saved(tmp_path / 'image.tif', PLACES[place] + SYSTEM, byteorder=byteorder, bigtiff=bigtiff)
    encoded = georeference.encode(LABELS, CLASSES, georeference.read(path))
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(io.BytesIO(encoded)) as after:
        assert after.geotiff_metadata == before.geotiff_metadata != {}
        assert 'ProjectedCSTypeGeoKey' in after.geotiff_metadata or after.geotiff_metadata['GTModelTypeGeoKey'] == 1
        page = after.pages[0]
        np.testing.assert_array_equal(page.asarray(), LABELS)
        assert page.is_tiled and page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE and page.nodata == 255
        assert len(encoded) < LABELS.size


def test_it_has_the_colours_of_the_classes(tmp_path):
    encoded = georeference.encode(LABELS, CLASSES, georeference.read(_saved(tmp_path / 'image.tif', PLACES['transformation'])))
    painted = np.array(Image.open(io.BytesIO(encoded)).convert('RGB'))
    for index, entry in enumerate(CLASSES):
        assert (painted[index == LABELS] == entry.colour).all()


def test_an_image_that_is_nowhere_has_no_tags(tmp_path):
    Image.fromarray(LABELS).save(tmp_path / 'image.png')
    assert georeference.read(tmp_path / 'image.png') == ()
    assert georeference.read(_saved(tmp_path / 'image.tif', SYSTEM)) == ()


def test_what_is_placed_and_turned_is_refused(tmp_path):
    path = _saved(tmp_path / 'image.tif', [*PLACES['transformation'], (274, SHORT, 1, 6, True)])
    with pytest.raises(DataError, match='a georeference and orientation 6; rewrite the file'):
        georeference.read(path)


def test_numbers_without_end_are_refused(tmp_path):
    path = _saved(tmp_path / 'image.tif', [(33922, DOUBLE, 6 * 20_000, (0.0,) * 6 * 20_000, True)])
    with pytest.raises(DataError, match='a georeference of too many numbers'):
        georeference.read(path)
