import numpy as np
import pytest
import tifffile
from PIL import Image

from ar_seg_jax.data import images
from ar_seg_jax.data.images import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)


def _saved(path, image):
    image.save(path)
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


def test_four_bands_are_read_as_stored_and_three_are_not_four(tmp_path):
    bands = RNG.integers(0, 256, (6, 6, 4), dtype=np.uint8)
    Image.fromarray(bands, 'RGBA').save(tmp_path / 'bands.png')
    tifffile.imwrite(tmp_path / 'bands.tif', bands, photometric='rgb', extrasamples=['unspecified'])
    tifffile.imwrite(tmp_path / 'planes.tif', bands.transpose(2, 0, 1), photometric='rgb', planarconfig='separate')
    grey = {'photometric': 'minisblack', 'extrasamples': ['unspecified'] * 3}
    tifffile.imwrite(tmp_path / 'grey.tif', bands, planarconfig='contig', **grey)
    tifffile.imwrite(tmp_path / 'packed.tif', bands, photometric='rgb', compression='zlib')
    for name in ('bands.png', 'bands.tif', 'planes.tif', 'grey.tif', 'packed.tif'):
        np.testing.assert_array_equal(images.read_image(tmp_path / name, 4), bands)
        assert images.read_size(tmp_path / name) == (6, 6)
    for name in ('bands.tif', 'packed.tif'):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-20])
        with pytest.raises(DataError, match=rf'{name}: cannot read'):
            images.read_image(tmp_path / name, 4)
    with pytest.raises(DataError, match=r'expected four bands.*found uint8 of shape \(9, 7, 3\)'):
        images.read_image(_saved(tmp_path / 'three.png', Image.fromarray(PIXELS)), 4)


def test_damaged_files_are_named(tmp_path):
    path = _saved(tmp_path / 'image.png', Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r'image\.png: damaged or truncated'):
        images.read_image(path)
    path.write_bytes(b'')
    with pytest.raises(DataError, match='is empty'):
        images.read_image(path)
    path.write_bytes(b'no image at all')
    with pytest.raises(DataError, match='not an image that Pillow can read'):
        images.read_image(path)
    with pytest.raises(DataError, match='no such file'):
        images.read_image(tmp_path / 'missing.png')


def test_an_absurdly_large_image_is_refused_from_its_header(tmp_path):
    # A bilevel image compresses to almost nothing: 100 million pixels in a few kilobytes.
    path = _saved(tmp_path / 'bomb.png', Image.new('1', (10_000, 10_000)))
    with pytest.raises(DataError, match=r'bomb\.png.*exceeds limit.*smaller tiles'):
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
