"""What callers may give as an image, beside what numpy and Pillow make of it."""

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.data import images
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.errors import UserError
from ar_seg_jax.prediction import given

NUMBERS = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)


@pytest.fixture
def labelled():
    """As rioxarray reads a raster: bands first, with the reference system as a coordinate without an axis."""
    xarray = pytest.importorskip('xarray', reason='xarray is not installed; tests/requirements.txt has it')
    places = {'y': 100.0 - np.arange(4), 'x': 7.0 + np.arange(5)}
    coordinates = {'band': [1, 2, 3], **places, 'spatial_ref': 0, 'colour': ('band', ['red', 'green', 'blue'])}
    found = xarray.DataArray(
        np.moveaxis(NUMBERS, -1, 0), coordinates, ('band', 'y', 'x'), name='raster', attrs={'scale_factor': 0.5, '_FillValue': 3}
    )
    found.spatial_ref.attrs['crs_wkt'] = 'somewhere'
    return found


@pytest.mark.parametrize('form', [np.asarray, np.ndarray.tolist, memoryview])
def test_arrays_and_what_numpy_makes_of_others_are_taken_as_they_are(form):
    np.testing.assert_array_equal(given.pixels(form(NUMBERS), rgb=True), NUMBERS)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L', 'P', 'CMYK'])
def test_an_image_of_pillow_is_taken_as_the_same_image_in_a_file_and_is_left_as_it_is(mode, tmp_path):
    image = Image.fromarray(NUMBERS).convert(mode)
    image.getexif()[0x0112] = 6  # to be turned by a quarter
    path = tmp_path / ('image.jpg' if mode == 'CMYK' else 'image.png')
    image.save(path, exif=image.getexif())
    expected = images.read_image(path)
    with Image.open(path) as opened:
        before = dict(opened.info)
        np.testing.assert_array_equal(given.pixels(opened, rgb=True), expected)
        assert opened.info == before
    assert expected.shape == (5, 4, 3)


def test_pillow_s_images_of_more_bits_are_refused_where_images_are_rgb_and_else_taken_as_they_are():
    deep = Image.fromarray(np.arange(20, dtype=np.uint16).reshape(4, 5))
    with pytest.raises(DataError, match=r"^an image of Pillow: pixels of mode 'I;16' .* rescale them to 8 bits first"):
        given.pixels(deep, rgb=True)
    np.testing.assert_array_equal(given.pixels(deep, rgb=False), np.asarray(deep))


@pytest.mark.parametrize('axes', [('band', 'y', 'x'), ('y', 'x', 'band'), ('x', 'band', 'y')])
def test_the_axes_of_a_labelled_array_are_found_by_their_names(labelled, axes):
    np.testing.assert_array_equal(given.pixels(labelled.transpose(*axes), rgb=True), NUMBERS)


def test_results_have_the_coordinates_of_places_and_neither_bands_nor_attributes(labelled):
    found = given.like(labelled, NUMBERS[..., 0], 'labels')
    assert (found.dims, found.name, found.attrs) == (('y', 'x'), 'labels', {})
    assert set(found.coords) == {'y', 'x', 'spatial_ref'} and found.spatial_ref.attrs == {'crs_wkt': 'somewhere'}
    np.testing.assert_array_equal(found.sel(y=99.0, x=8.0), NUMBERS[1, 1, 0])
    np.testing.assert_array_equal(found.y, labelled.y)


def test_a_batch_keeps_its_axis_and_scores_have_one_more(labelled):
    batch = labelled.expand_dims(time=[3, 4])
    assert given.pixels(batch, rgb=True).shape == (2, 4, 5, 3)
    found = given.like(batch, np.zeros((2, 4, 5, 7)), 'scores', 'cluster')
    assert found.dims == ('time', 'y', 'x', 'cluster') and found.time.values.tolist() == [3, 4]


def test_other_dimensions_are_refused_by_name(labelled):
    wrong = [labelled.rename(y='latitude', x='longitude'), labelled.isel(band=0), labelled.expand_dims(('time', 'run'))]
    for image, found in zip(wrong, ('band, latitude, longitude', 'y, x', 'time, run, band, y, x'), strict=True):
        with pytest.raises(UserError, match=rf'with the dimensions y, x and band in any order, .*; found {found}. Rename them'):
            given.pixels(image, rgb=True)


def test_an_array_gets_arrays():
    assert given.like(NUMBERS, NUMBERS, 'labels') is NUMBERS
