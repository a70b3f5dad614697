"""Maps of rasters by windows: what the whole image would give, also after a break."""

import numpy as np
import pytest

from ar_seg_jax import files
from ar_seg_jax.data.form import Form
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.prediction import mosaic, tiling, windows
from tests.support import rasters

rasterio = pytest.importorskip('rasterio', reason='rasterio, of the extra geo, is not installed')
SIZE = 420, 300


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    monkeypatch.setattr(tiling, 'TILE', 64)
    monkeypatch.setattr(windows, 'PICTURE', 100)


@pytest.fixture
def image():
    image = rasters.smooth(*SIZE)
    image[:200, :200] = 0  # one window sees nothing else
    image[300:310, 40:260] = 0
    return image


@pytest.fixture
def source(tmp_path, image):
    options = {'driver': 'GTiff', 'height': SIZE[0], 'width': SIZE[1], 'count': 3, 'dtype': 'uint8', 'nodata': 0, 'tiled': True}
    place = {'crs': 'EPSG:32633', 'transform': rasterio.Affine(0.5, 0.1, 4e5, 0.1, -0.5, 5.7e6)}
    with rasterio.open(tmp_path / 'a.tif', 'w', blockxsize=64, blockysize=64, **options, **place) as file:
        file.write(np.moveaxis(image, 2, 0))
        file.update_tags(AREA_OR_POINT='Point')
    return tmp_path / 'a.tif'


def expected(network, image):
    return np.where((image == 0).all(-1), VOID, rasters.at_once(network, image))


@pytest.mark.parametrize('kind', [rasters.Levels, rasters.Blended])
@pytest.mark.parametrize(('rescale', 'differing'), [(1.0, 0.0), (0.5, 0.0), (1.6, 0.0), (0.37, 0.002)])
def test_windows_give_what_the_whole_image_gives(tmp_path, source, image, kind, rescale, differing):
    """Where the scale is no simple fraction, Pillow rounds the places of pixels: a few have the next level."""
    network = rasters.levels(Form(rescale=rescale), kind)
    found = mosaic.segment(network, source, tmp_path / 'map.tif', tmp_path)
    with rasterio.open(tmp_path / 'map.tif') as file:
        labels = file.read(1)
    whole = expected(network, image)
    assert set(np.unique(whole)) == {0, 1, 2, VOID}
    assert np.mean(labels != whole) <= differing
    np.testing.assert_array_equal(found.counts, np.bincount(labels.ravel(), minlength=256))
    np.testing.assert_array_equal(found.labels, labels[::5, ::5])  # of 420 pixels, at most 100
    np.testing.assert_array_equal(found.seen, image[::5, ::5])
    assert found.size == SIZE
    assert not list(tmp_path.glob('.*'))


def test_windows_without_data_are_not_looked_at(tmp_path, source):
    network = rasters.levels()
    mosaic.segment(network, source, tmp_path / 'map.tif', tmp_path)
    tiles = [len(tiling.spans(length, 4)) for length in SIZE]
    assert network.counter.asked == tiles[0] * tiles[1] - 1


def test_a_map_lies_where_its_raster_does_and_has_tiles_and_colours(tmp_path, source):
    mosaic.segment(rasters.levels(), source, tmp_path / 'map.tif', tmp_path)
    with rasterio.open(source) as before, rasterio.open(tmp_path / 'map.tif') as after:
        assert (after.crs, after.transform, after.shape) == (before.crs, before.transform, before.shape)
        assert after.tags()['AREA_OR_POINT'] == 'Point' and after.nodata == VOID
        assert after.profile['compress'] == 'deflate' and after.block_shapes == [(256, 256)]
        assert [after.colormap(1)[index][:3] for index in range(3)] == [entry.colour for entry in rasters.CLASSES]


@pytest.mark.parametrize('kind', [rasters.Levels, rasters.Blended])
@pytest.mark.parametrize('most', [1, 8, 11])
def test_a_map_that_was_interrupted_goes_on_and_ends_with_the_same_bytes(tmp_path, source, kind, most):
    whole, network = rasters.levels(kind=kind), rasters.levels(kind=kind)
    mosaic.segment(whole, source, tmp_path / 'whole.tif', tmp_path)
    network.counter.most = most
    with pytest.raises(KeyboardInterrupt):
        mosaic.segment(network, source, tmp_path / 'map.tif', tmp_path)
    assert not (tmp_path / 'map.tif').exists()
    done = len(list((tmp_path / '.map.tif.partial').glob('*.npz')))
    network.counter.asked, network.counter.most = 0, 10**9
    mosaic.segment(network, source, tmp_path / 'map.tif', tmp_path)
    assert (tmp_path / 'map.tif').read_bytes() == (tmp_path / 'whole.tif').read_bytes()
    assert (done > 0) == (most > 1) == (network.counter.asked < whole.counter.asked)


@pytest.mark.parametrize('change', ['source', 'weights', 'windows', 'damage'])
def test_what_was_made_from_something_else_is_not_used(tmp_path, source, monkeypatch, change):
    network = rasters.levels()
    network.counter.most = 8
    with pytest.raises(KeyboardInterrupt):
        mosaic.segment(network, source, tmp_path / 'map.tif', tmp_path)
    network, whole = rasters.levels(), rasters.levels()
    match change:
        case 'source':
            with rasterio.open(source, 'r+') as file:
                file.write(rasters.smooth(*SIZE, seed=1)[..., 0], 1)
        case 'weights':
            network.state.params['weights'] += 1
        case 'windows':
            monkeypatch.setattr(tiling, 'TILE', 96)
        case 'damage':
            (tmp_path / '.map.tif.partial' / 'journal.json').write_text('{')
    mosaic.segment(whole, source, tmp_path / 'whole.tif', tmp_path)
    mosaic.segment(network, source, tmp_path / 'map.tif', tmp_path)
    assert network.counter.asked == whole.counter.asked
    assert (tmp_path / 'map.tif').read_bytes() == (tmp_path / 'whole.tif').read_bytes()


def test_two_processes_do_not_make_one_map(tmp_path, source):
    with files.lock(tmp_path / '.map.tif.partial' / 'lock'), pytest.raises(DataError, match='another process is making this map'):
        mosaic.segment(rasters.levels(), source, tmp_path / 'map.tif', tmp_path)


def test_a_link_in_place_of_the_unfinished_map_is_refused(tmp_path, source):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / '.map.tif.partial').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(DataError, match='is a link, which nobody made here'):
        mosaic.segment(rasters.levels(), source, tmp_path / 'map.tif', tmp_path)
    assert not list((tmp_path / 'elsewhere').iterdir())


def test_a_row_that_is_damaged_is_named(tmp_path, source):
    network = rasters.levels()
    network.counter.most = 8
    with pytest.raises(KeyboardInterrupt):
        mosaic.segment(network, source, tmp_path / 'map.tif', tmp_path)
    (tmp_path / '.map.tif.partial' / '00001.npz').write_bytes(b'PK')
    with pytest.raises(DataError, match=r'00001.npz: damaged row of a map .*; remove .*partial and start again'):
        mosaic.segment(rasters.levels(), source, tmp_path / 'map.tif', tmp_path)


def test_a_network_that_sees_images_whole_is_refused(tmp_path, source):
    with pytest.raises(DataError, match='too large for images which the network sees with 320 pixels on their shorter side'):
        mosaic.segment(rasters.levels(Form(shorter_side=320)), source, tmp_path / 'map.tif', tmp_path)


def test_a_row_of_windows_that_takes_too_much_memory_is_refused(tmp_path, source, monkeypatch):
    monkeypatch.setattr(windows, '_MAX_BYTES', 100_000)
    with pytest.raises(
        DataError, match=r'192 pixels high, has 172800 bytes, the limit is 100000; cut the raster into narrower ones'
    ):
        mosaic.segment(rasters.levels(), source, tmp_path / 'map.tif', tmp_path)
