import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from ar_seg_jax.data import bands, images
from ar_seg_jax.data.limits import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)


def _saved(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGBA', 'CMYK', 'YCbCr'])
def test_every_convertible_mode_becomes_rgb_by_the_stated_rule(tmp_path, mode):
    source = Image.fromarray(PIXELS)
    image = source.quantize(16) if mode == 'P' else source.convert('L').convert('LA') if mode == 'LA' else source.convert(mode)
    read = images.read_image(_saved(tmp_path / 'image.tif', image))
    assert read.shape == (9, 7, 3) and read.dtype == np.uint8
    if mode in ('1', 'L', 'LA'):
        grey = np.array(image.convert('L'))
        np.testing.assert_array_equal(read, np.repeat(grey[..., None], 3, axis=2))
    if mode == 'RGBA':
        np.testing.assert_array_equal(read, PIXELS)


def test_colours_under_full_transparency_are_kept(tmp_path):
    transparent = np.concatenate([PIXELS, np.zeros((9, 7, 1), np.uint8)], axis=2)
    np.testing.assert_array_equal(images.read_image(_saved(tmp_path / 'image.png', Image.fromarray(transparent))), PIXELS)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.fromarray(PIXELS).save(tmp_path / 'image.png', exif=exif)
    np.testing.assert_array_equal(images.read_image(tmp_path / 'image.png'), np.rot90(PIXELS, -1))


@pytest.mark.parametrize('dtype', [np.uint16, np.float32, np.int32])
def test_more_than_eight_bits_are_refused_by_name(tmp_path, dtype):
    path = _saved(tmp_path / 'deep.tif', Image.fromarray(PIXELS[..., 0].astype(dtype)))
    with pytest.raises(DataError, match=r'deep\.tif.*more than 8 bits.*rescale'):
        images.read_image(path)


def test_damaged_files_are_named(tmp_path):
    path = _saved(tmp_path / 'image.png', Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r'image\.png: damaged or truncated'):
        images.read_image(path)
    place = whole.index(b'IDAT')
    path.write_bytes(whole[: place - 4] + (100).to_bytes(4, 'big') + whole[place : place + 104] + bytes(100))  # nameless chunks
    with pytest.raises(DataError, match=r'image\.png: damaged or truncated'):
        images.read_image(path)
    path.write_bytes(b'')
    with pytest.raises(DataError, match=r'image\.png: .*is empty'):
        images.read_image(path)
    path.write_bytes(b'no image at all')
    with pytest.raises(DataError, match=r'image\.png: .*not an image that Pillow can read'):
        images.read_image(path)
    with pytest.raises(DataError, match=r'missing\.png: no such file'):
        images.read_image(tmp_path / 'missing.png')


def test_an_absurdly_large_image_is_refused_from_its_header(tmp_path):
    # A bilevel image compresses to almost nothing: 100 million pixels in a few kilobytes.
    path = _saved(tmp_path / 'bomb.png', Image.new('1', (10_000, 10_000)))
    with pytest.raises(DataError, match=r'bomb\.png.*exceed the limit.*smaller tiles'):
        images.read_image(path)


def test_label_colours_become_indices_and_unknown_ones_are_named(tmp_path):
    colours = [(0, 0, 0), (255, 0, 0), (0, 0, 255)]
    label = RNG.integers(0, 3, (5, 8))
    painted = np.array(colours, np.uint8)[label]
    path = _saved(tmp_path / 'label.png', Image.fromarray(painted))
    np.testing.assert_array_equal(images.read_colours(path, colours), label)
    np.testing.assert_array_equal(images.read_colours(_saved(path, Image.fromarray(painted ^ 7)), colours, tolerance=7), label)
    painted[2, 3] = (1, 2, 3)
    with pytest.raises(DataError, match=r'unknown label colour \(1, 2, 3\) at row 2, column 3 \(1 such pixels\)'):
        images.read_colours(_saved(path, Image.fromarray(painted)), colours)


def test_palette_label_maps_are_read_as_ids(tmp_path):
    ids = RNG.integers(0, 7, (5, 8), dtype=np.uint8)
    image = Image.fromarray(ids, 'P')
    image.putpalette(list(RNG.integers(0, 256, 768)))
    path = _saved(tmp_path / 'label.png', image)
    np.testing.assert_array_equal(images.read_ids(path), ids)
    with pytest.raises(DataError, match=r'unknown label ids \[5, 6\]'):
        images.map_ids(path, np.array([[0, 5], [6, 255]], np.uint8), {0: 0})


def test_rescaling_four_bands_does_not_mix_them():
    bands = np.zeros((8, 8, 4), np.uint8)
    bands[..., 0] = 200  # with the fourth band taken as alpha 0, red would vanish
    np.testing.assert_array_equal(images.rescale(bands, 0.5)[..., 0], 200)


def test_labels_are_rescaled_to_values_that_were_there():
    label = RNG.choice([0, 7, 255], (20, 30)).astype(np.uint8)
    assert set(np.unique(images.rescale(label, 0.33, label=True))) <= {0, 7, 255}


@pytest.mark.parametrize('height, width', [(20, 33), (31, 20), (20, 20), (64, 99), (15, 40)])
def test_squares_are_those_of_picie_s_loaders(height, width):
    """Pillow's resizing to a shorter side of 20 pixels, the longer side cut off, then its crop."""
    image, label = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8), RNG.integers(0, 9, (height, width), dtype=np.uint8)
    size = (int(20 * width / height), 20) if height < width else (20, int(20 * height / width))
    left, top = (round((length - 20) / 2) for length in size)
    box = (left, top, left + 20, top + 20)
    expected = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR).crop(box)
    np.testing.assert_array_equal(images.square(image, 20), expected)
    expected = Image.fromarray(label).resize(size, Image.Resampling.NEAREST).crop(box)
    np.testing.assert_array_equal(images.square(label, 20, label=True), expected)


def test_files_are_read_by_their_content_whatever_they_are_called(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / 'image.jpg', 'PNG')
    np.testing.assert_array_equal(images.read_image(tmp_path / 'image.jpg'), PIXELS)
    stored = RNG.integers(0, 256, (6, 6, 4), dtype=np.uint8)
    tifffile.imwrite(tmp_path / 'bands.png', stored, photometric='rgb', extrasamples=['unspecified'])
    np.testing.assert_array_equal(bands.read(tmp_path / 'bands.png', 4), stored)


@pytest.mark.parametrize('ending', ['jpg', 'tif', 'png', 'webp'])
def test_orientation_is_applied_once_and_other_metadata_do_no_harm(tmp_path, ending):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x011A] = 3.5  # a fraction, which then claims to be a string of bytes: Pillow reads it, but cannot write it again
    odd = exif.tobytes().replace(b'\x01\x1a\x00\x05', b'\x01\x1a\x00\x07').replace(b'\x1a\x01\x05\x00', b'\x1a\x01\x07\x00')
    options = {'exif': exif if ending == 'tif' else odd} | ({'lossless': True} if ending == 'webp' else {})
    path = _saved(tmp_path / f'image.{ending}', Image.fromarray(PIXELS), **options)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        read = images.read_image(path)
    assert read.shape == (7, 9, 3)
    if ending != 'jpg':
        np.testing.assert_array_equal(read, np.rot90(PIXELS, -1))


def test_needles_are_refused(tmp_path):
    assert images.read_image(_saved(tmp_path / 'long.png', Image.new('L', (1, 65_535)))).shape == (65_535, 1, 3)
    with pytest.raises(DataError, match=r'1 x 70000 pixels exceed the limit of .* 65535 a side'):
        images.read_image(_saved(tmp_path / 'longer.png', Image.new('L', (1, 70_000))))


def test_jpeg_files_of_endless_scans_are_refused(tmp_path):
    path = _saved(tmp_path / 'image.jpg', Image.fromarray(PIXELS).resize((64, 64)), progressive=True)
    whole = path.read_bytes()
    last = whole[whole.rfind(b'\xff\xc4', 0, whole.rfind(b'\xff\xda')) : -2]
    path.write_bytes(whole[:-2] + last * 200 + whole[-2:])
    with pytest.raises(DataError, match=r'image\.jpg: .*scans exceed the limit of 100'):
        images.read_image(path)
    path.write_bytes(whole + bytes(2) + last * 200)  # a film, say, that a camera appends to its photograph
    assert images.read_image(path).shape == (64, 64, 3)


def test_jpeg_files_that_are_too_short_for_their_pixels_are_refused(tmp_path):
    path = _saved(tmp_path / 'image.jpg', Image.new('L', (2000, 1600)), optimize=True)
    whole = path.read_bytes()
    assert images.read_image(path).shape == (1600, 2000, 3) and len(whole) < 20_000  # as small as such an image can be
    place = whole.index(b'\xff\xc0') + 5
    path.write_bytes(whole[:place] + (9000).to_bytes(2, 'big') + (9800).to_bytes(2, 'big') + whole[place + 4 :])
    with pytest.raises(DataError, match=r'image\.jpg: damaged image, whose \d+ bytes cannot be 9800 x 9000 pixels; fetch it'):
        images.read_image(path)


def test_rescaling_to_more_than_the_limit_is_refused(tmp_path):
    images.check_rescaled(tmp_path / 'image.png', PIXELS, 100.0)
    with pytest.raises(DataError, match=r'image\.png at 9000\.0 times its size: 63000 x 81000 pixels exceed'):
        images.check_rescaled(tmp_path / 'image.png', PIXELS, 9000.0)
    needle = np.zeros((2, 40_000, 3), np.uint8)
    with pytest.raises(DataError, match=r'image\.png with 320 pixels on its shorter side: 6400000 x 320 pixels exceed'):
        images.check_rescaled(tmp_path / 'image.png', needle, 1.0, 320)


@pytest.mark.parametrize(('factor', 'size'), [(0.33, (37, 50)), (0.5, (24, 31)), (1.7, (9, 5))])
def test_resampled_images_are_those_of_opencv_s_formula(factor, size):
    """Pixel centres are mapped onto each other, and nothing is averaged beyond the four neighbours; labels are picked."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    height, width = (max(1, round(length * factor)) for length in size)
    rows, columns = ((np.arange(length) + 0.5) / factor - 0.5 for length in (height, width))
    places = np.stack(np.meshgrid(rows, columns, indexing='ij'))
    expected = np.stack(
        [ndimage.map_coordinates(image[..., channel] * 1.0, places, order=1, mode='nearest') for channel in range(3)], -1
    )
    found = images.resample(image, factor)
    assert found.shape == (height, width, 3) and np.abs(found - expected).max() <= 0.5 + 1e-6
    label = images.resample(image[..., 0], factor, label=True)
    picked = [
        [image[min(int(i / factor), size[0] - 1), min(int(j / factor), size[1] - 1), 0] for j in range(width)]
        for i in range(height)
    ]
    np.testing.assert_array_equal(label, picked)
