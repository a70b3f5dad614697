"""Label maps as polygons: what is drawn from them is the map again, and neighbours share their borders."""

import sys
import zlib

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ar_seg_jax.data import raster
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.prediction import polygons
from tests.support import rasters

REASON = 'of the extra geo, is not installed'
rasterio = pytest.importorskip('rasterio', reason=f'rasterio, {REASON}')
shapely = pytest.importorskip('shapely', reason=f'shapely, {REASON}')
pyogrio = pytest.importorskip('pyogrio', reason=f'pyogrio, {REASON}')
PLACES = {'upright': rasterio.Affine(0.5, 0, 4e5, 0, -0.5, 5.7e6), 'turned': rasterio.Affine(0.3, 0.4, 5e5, 0.4, -0.3, 3e6)}


@pytest.fixture(params=['spots', 'noise'])
def labels(request):
    """Three classes, and a collar and a hole without one."""
    found = rasters.smooth(60, 80)[..., 0] // 86
    if request.param == 'noise':
        found = np.random.default_rng(0).integers(0, 3, (60, 80), dtype=np.uint8)
    found[:7, :30] = found[40:44, 50] = VOID
    return found


def _saved(path, labels, **place):
    if path.suffix == '.png':
        Image.fromarray(labels).save(path)
    else:
        options = {'height': labels.shape[0], 'width': labels.shape[1], 'count': 1, 'dtype': 'uint8', 'nodata': VOID}
        with raster.created(path, **options, **place) as file:
            file.write(labels, 1)
    return path


def _written(path, *maps, least=1):
    with polygons.opened(path, rasters.CLASSES, least) as layers:
        for labels in maps:
            layers.add(labels.name, labels)
    return path


def _read(path, layer):
    """Polygons and a table."""
    meta, _, geometry, fields = pyogrio.raw.read(path, layer=layer)
    return shapely.from_wkb(geometry), dict(zip(meta['fields'], fields, strict=True)), meta['crs']


@pytest.mark.parametrize('where', PLACES)
def test_polygons_drawn_again_are_the_map(tmp_path, labels, where):
    """By rasterio's own drawing of polygons."""
    path = _saved(tmp_path / 'map.tif', labels, crs='EPSG:32633', transform=PLACES[where])
    found, table, system = _read(_written(tmp_path / 'out.gpkg', path), 'epsg_32633')
    assert system == 'EPSG:32633' and shapely.is_valid(found).all()
    drawn = rasterio.features.rasterize(
        zip(found, table['class'], strict=True), labels.shape, fill=VOID, transform=PLACES[where], dtype='uint8'
    )
    np.testing.assert_array_equal(drawn, labels)
    np.testing.assert_allclose(table['area'], 0.25 * table['pixels'], rtol=1e-6)
    np.testing.assert_allclose(shapely.area(found), table['area'], rtol=1e-6)
    for index, entry in enumerate(rasters.CLASSES):
        chosen = table['class'] == index
        assert table['pixels'][chosen].sum() == (labels == index).sum() > 0
        assert set(table['name'][chosen]) == {entry.name}
        assert set(table['colour'][chosen]) == {'#{:02x}{:02x}{:02x}'.format(*entry.colour)}
    assert set(table['image']) == {'map.tif'}


def test_every_area_is_a_polygon_and_neighbours_share_their_corners(tmp_path, labels):
    found, table, _ = _read(_written(tmp_path / 'out.gpkg', _saved(tmp_path / 'map.png', labels)), 'pixels')
    for index in range(3):
        assert (table['class'] == index).sum() == ndimage.label(labels == index)[1]
    assert shapely.coverage_is_valid(found)
    assert shapely.area(shapely.union_all(found)) == (labels != VOID).sum()
    assert shapely.total_bounds(found).tolist() == [0, -60, 80, 0]  # columns, and minus rows


def test_small_areas_are_given_to_their_neighbours_and_none_are_lost(tmp_path):
    labels = rasters.smooth(60, 80)[..., 0] // 128
    labels[10:12, 10:13] = 1 - labels[11, 11]
    labels[30, 41:49] = 1 - labels[30, 45]
    labels[:7, :30] = labels[40, 50] = VOID
    assert min(np.bincount(ndimage.label(labels == index)[0].ravel()).min() for index in (0, 1)) < 9
    found, table, _ = _read(_written(tmp_path / 'out.gpkg', _saved(tmp_path / 'map.png', labels), least=9), 'pixels')
    assert table['pixels'].min() >= 9 and table['pixels'].sum() == (labels != VOID).sum()
    assert shapely.coverage_is_valid(found)
    drawn = rasterio.features.rasterize(
        zip(found, table['class'], strict=True), labels.shape, fill=VOID, transform=rasterio.Affine.scale(1, -1), dtype='uint8'
    )
    assert (drawn[labels == VOID] == VOID).all() and 0 < (drawn != labels).sum() < 100


def test_each_coordinate_system_has_a_layer_and_each_polygon_its_image(tmp_path, labels):
    odd = 'LOCAL_CS["a field",UNIT["metre",1]]'
    maps = [
        _saved(tmp_path / 'a.tif', labels, crs='EPSG:32633', transform=PLACES['upright']),
        _saved(tmp_path / 'b.tif', labels, crs='EPSG:32633', transform=PLACES['turned']),
        _saved(tmp_path / 'c.tif', labels, crs='EPSG:4326', transform=rasterio.Affine(1e-6, 0, 9, 0, -1e-6, 50)),
        _saved(tmp_path / 'd.tif', labels, transform=PLACES['upright']),
        _saved(tmp_path / 'e.tif', labels, crs=odd, transform=PLACES['upright']),
        _saved(tmp_path / 'f.tif', labels),
        _saved(tmp_path / 'g.png', labels),
    ]
    path = _written(tmp_path / 'out.gpkg', *maps)
    assert sorted(pyogrio.list_layers(path)[:, 0]) == ['epsg_32633', 'epsg_4326', 'pixels', 'system', 'system_2']
    images = {name: set(_read(path, name)[1]['image']) for name in pyogrio.list_layers(path)[:, 0]}
    assert images['epsg_32633'] == {'a.tif', 'b.tif'} and images['pixels'] == {'f.tif', 'g.png'}
    assert {len(_read(path, name)[0]) % len(_read(path, 'system')[0]) for name in images} == {0}


def test_many_polygons_are_written_in_parts(tmp_path, labels, monkeypatch):
    path = _saved(tmp_path / 'map.png', labels)
    whole = _read(_written(tmp_path / 'whole.gpkg', path), 'pixels')[0]
    monkeypatch.setattr(polygons, '_AT_ONCE', 7)
    parts = _read(_written(tmp_path / 'parts.gpkg', path), 'pixels')[0]
    assert len(whole) > 7 and shapely.to_wkb(whole).tolist() == shapely.to_wkb(parts).tolist()


def test_a_file_has_its_name_when_it_is_whole_and_not_before(tmp_path, labels):
    path = _written(tmp_path / 'out.gpkg', _saved(tmp_path / 'map.png', labels))
    before = zlib.crc32(path.read_bytes())
    with pytest.raises(KeyboardInterrupt), polygons.opened(path, rasters.CLASSES, 1) as layers:
        layers.add('map.png', tmp_path / 'map.png')
        raise KeyboardInterrupt
    assert zlib.crc32(path.read_bytes()) == before
    assert sorted(found.name for found in tmp_path.iterdir()) == ['map.png', 'out.gpkg']
    empty = _written(tmp_path / 'empty.gpkg', _saved(tmp_path / 'void.png', np.full_like(labels, VOID)))
    assert len(_read(empty, 'pixels')[0]) == 0


def test_what_cannot_be_written_is_refused_at_once(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r'whose name ends in \.gpkg; found .*out\.shp'):
        polygons.check(tmp_path / 'out.shp')
    (tmp_path / 'a.gpkg').mkdir()
    with pytest.raises(UserError, match='--polygons is a GeoPackage file'):
        polygons.check(tmp_path / 'a.gpkg')
    monkeypatch.setitem(sys.modules, 'pyogrio', None)
    with pytest.raises(UserError, match=r"pip install 'ar_seg_jax\[geo\]'"):
        polygons.check(tmp_path / 'out.gpkg')
