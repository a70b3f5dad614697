"""Images of any number of bands and any depth, against what was written and against numpy's percentiles."""

import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from ar_seg_jax.data import bands, builder, images, pipeline
from ar_seg_jax.data.form import Form
from ar_seg_jax.data.limits import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)


def _saved(path, image):
    image.save(path)
    return path


def _numbers(dtype, channels, size=(8, 6)):
    numbers = RNG.normal(1000, 300, (*size, channels))
    return (numbers if np.dtype(dtype).kind == 'f' else numbers.round()).astype(dtype)


@pytest.mark.parametrize('dtype', [np.uint16, np.int16, np.uint32, np.int32, np.float32])
@pytest.mark.parametrize('channels', [4, 8, 16])
def test_bands_of_every_depth_are_read_as_stored(tmp_path, dtype, channels):
    stored = _numbers(dtype, channels)
    for name, pixels, way in (('pixels.tif', stored, 'contig'), ('planes.tif', np.moveaxis(stored, 2, 0), 'separate')):
        tifffile.imwrite(tmp_path / name, pixels, photometric='minisblack', planarconfig=way)
        read = bands.read(tmp_path / name, channels)
        assert read.dtype == dtype == bands.dtype(tmp_path / name)
        np.testing.assert_array_equal(read, stored)
        with pytest.raises(DataError, match=rf'expected 3 bands, found {channels} of {np.dtype(dtype)}; .*channels={channels}'):
            bands.read(tmp_path / name, 3)


def test_three_channels_of_deep_images_repeat_grey_and_drop_alpha(tmp_path):
    stored = _numbers(np.uint16, 4)
    grey = np.repeat(stored[..., :1], 3, axis=2)
    tifffile.imwrite(tmp_path / 'grey.tif', stored[..., 0])
    Image.fromarray(stored[..., 0]).save(tmp_path / 'grey.png')
    tifffile.imwrite(
        tmp_path / 'grey_alpha.tif', stored[..., :2], photometric='minisblack', planarconfig='contig', extrasamples=['unassalpha']
    )
    for name in ('grey.tif', 'grey.png', 'grey_alpha.tif'):
        np.testing.assert_array_equal(bands.read(tmp_path / name, 3), grey)
        assert bands.dtype(tmp_path / name).itemsize > 1
    tifffile.imwrite(tmp_path / 'alpha.tif', stored, photometric='rgb', extrasamples=['unassalpha'])
    np.testing.assert_array_equal(bands.read(tmp_path / 'alpha.tif', 3), stored[..., :3])
    tifffile.imwrite(tmp_path / 'infrared.tif', stored, photometric='rgb', extrasamples=['unspecified'])
    with pytest.raises(DataError, match=r'expected 3 bands, found 4 of uint16; set --config\.data\.channels=4'):
        bands.read(tmp_path / 'infrared.tif', 3)


def test_several_images_in_one_file_are_refused_and_smaller_copies_are_not(tmp_path):
    tifffile.imwrite(tmp_path / 'pages.tif', RNG.integers(0, 256, (3, 8, 6, 3), dtype=np.uint8), photometric='rgb')
    with tifffile.TiffWriter(tmp_path / 'pyramid.tif') as file:
        file.write(PIXELS, photometric='rgb')
        file.write(PIXELS[::2, ::2], photometric='rgb', subfiletype=1)
    np.testing.assert_array_equal(images.read_image(tmp_path / 'pyramid.tif'), PIXELS)
    np.testing.assert_array_equal(bands.read(tmp_path / 'pyramid.tif', 3), PIXELS)
    frames = [Image.fromarray(np.full((8, 6, 3), level, np.uint8)) for level in (0, 100, 200)]
    for name in ('moving.webp', 'moving.png'):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match=rf'{name}: 3 frames of an animation; save each'):
            images.read_image(tmp_path / name)
    for read in (images.read_image, images.read_size, lambda path: bands.read(path, 3)):
        with pytest.raises(DataError, match=r'pages\.tif: several images in one file; write each page'):
            read(tmp_path / 'pages.tif')


@pytest.mark.parametrize('dtype', [np.float64, np.complex64, np.uint64])
def test_other_numbers_are_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / 'a.tif', np.ones((8, 6, 4), dtype), photometric='minisblack', planarconfig='contig')
    with pytest.raises(DataError, match=rf'a\.tif: expected numbers of 8, 16 or 32 bits, found {np.dtype(dtype)}'):
        bands.read(tmp_path / 'a.tif', 4)


def test_ranges_are_the_percentiles_of_the_training_images(tmp_path):
    stored = [_numbers(np.float32, 4, (40, 30)) + 100 * index for index in range(3)]
    stored[1][:7, :, 2] = np.nan
    stored[0][3, 4, 1] = np.inf
    stored[0][..., 3] = stored[1][..., 3] = 5
    paths = [tmp_path / f'{index}.tif' for index in range(3)]
    for path, pixels in zip(paths, stored, strict=True):
        tifffile.imwrite(path, pixels, photometric='minisblack', planarconfig='contig')
    found = bands.ranges(paths, paths[:2], 4, (2.0, 90.0))
    for band in range(3):
        whole = [pixels[~np.isnan(pixels).any(axis=-1)] for pixels in stored[:2]]  # no number in one band is no data in all
        numbers = np.concatenate([pixels[:, band] for pixels in whole]).astype(np.float64)
        np.testing.assert_allclose(found[band], np.percentile(numbers[np.isfinite(numbers)], (2, 90)))
    assert found[3] == (5, 6)
    stored[0][..., 0] = stored[1][..., 0] = np.nan
    for path, pixels in zip(paths, stored, strict=True):
        tifffile.imwrite(path, pixels, photometric='minisblack', planarconfig='contig')
    with pytest.raises(DataError, match=r'band 0 of .*0\.tif and all other training images has no finite number'):
        bands.ranges(paths, paths[:2], 4, (2.0, 90.0))


def test_ranges_of_many_images_are_those_of_some_of_them_evenly_spread(tmp_path, monkeypatch):
    """100 pixels of an image are taken at least: with room for 200, of the first and the fifth of seven."""
    paths = [tmp_path / f'{index}.tif' for index in range(7)]
    for index, path in enumerate(paths):
        tifffile.imwrite(path, np.full((10, 10), 1000 + index, np.uint16))
    for room, highest in ((200, 1004), (700, 1006)):
        monkeypatch.setattr(bands, '_SAMPLE', room)
        assert bands.ranges(paths, paths, 3, (0.0, 100.0)) == ((1000, highest),) * 3


def test_there_are_no_ranges_of_eight_bits_and_none_of_both_depths(tmp_path):
    _saved(tmp_path / 'a.png', Image.fromarray(PIXELS))
    assert bands.ranges([tmp_path / 'a.png'], [tmp_path / 'a.png'], 3, (1.0, 99.0)) == ()
    tifffile.imwrite(tmp_path / 'b.tif', _numbers(np.uint16, 3), photometric='rgb')
    paths = [tmp_path / 'a.png', tmp_path / 'b.tif']
    with pytest.raises(DataError, match=r'a\.png has 8 bits and .*b\.tif 16; bring all images to one depth first'):
        bands.ranges(paths, paths, 3, (1.0, 99.0))


def test_numbers_become_levels_by_their_band(tmp_path):
    numbers = np.array([[[-np.inf, 10.0], [0.0, 20.0]], [[1.0, 12.0], [np.nan, 99.0]]], np.float32)
    assert bands.to_8_bits(numbers, ((0.0, 2.0), (10.0, 20.0))).tolist() == [[[0, 0], [0, 255]], [[128, 51], [0, 255]]]


def test_large_numbers_keep_their_differences():
    numbers = np.arange(256, dtype=np.uint32)[None, :, None] + np.uint32(4_000_000_000)
    assert bands.to_8_bits(numbers, ((4e9, 4e9 + 255),))[0, :, 0].tolist() == list(range(256))


def test_numbers_of_no_known_kind_are_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', PIXELS, photometric='rgb')
    with tifffile.TiffFile(tmp_path / 'a.tif', mode='r+') as file:
        file.pages[0].tags['BitsPerSample'].overwrite((5, 6, 7))
    with pytest.raises(DataError, match=r'a\.tif: '):
        bands.dtype(tmp_path / 'a.tif')


def test_a_form_reads_what_is_as_deep_as_its_images(tmp_path):
    _saved(tmp_path / 'a.png', Image.fromarray(PIXELS))
    tifffile.imwrite(tmp_path / 'deep.tif', _numbers(np.uint16, 4, (12, 10)), photometric='minisblack', planarconfig='contig')
    with pytest.raises(DataError, match=r'deep\.tif: expected 8 bits, as the training images have, found uint16'):
        Form(4).read(tmp_path / 'deep.tif')
    with pytest.raises(DataError, match='exceed the limit'):
        Form(4, 1000.0, ranges=((0.0, 1.0),) * 4).read(tmp_path / 'deep.tif')
    np.testing.assert_array_equal(Form().to_8_bits(Form().read(tmp_path / 'a.png')), PIXELS)


@pytest.mark.parametrize('channels', [3, 4, 5, 16])
def test_images_of_all_numbers_of_bands_are_stored_without_loss(channels):
    image = RNG.integers(0, 256, (5, 7, channels), dtype=np.uint8)
    _, record = builder.example('a', image, None)
    np.testing.assert_array_equal(pipeline.decode({**record, 'id': b'a'})['image'], image)


def test_four_bands_are_read_as_stored_and_three_are_not_four(tmp_path):
    stored = RNG.integers(0, 256, (6, 6, 4), dtype=np.uint8)
    Image.fromarray(stored, 'RGBA').save(tmp_path / 'bands.png')
    tifffile.imwrite(tmp_path / 'bands.tif', stored, photometric='rgb', extrasamples=['unspecified'])
    tifffile.imwrite(tmp_path / 'planes.tif', stored.transpose(2, 0, 1), photometric='rgb', planarconfig='separate')
    grey = {'photometric': 'minisblack', 'extrasamples': ['unspecified'] * 3}
    tifffile.imwrite(tmp_path / 'grey.tif', stored, planarconfig='contig', **grey)
    tifffile.imwrite(tmp_path / 'packed.tif', stored, photometric='rgb', compression='zlib')
    for name in ('bands.png', 'bands.tif', 'planes.tif', 'grey.tif', 'packed.tif'):
        np.testing.assert_array_equal(bands.read(tmp_path / name, 4), stored)
        assert images.read_size(tmp_path / name) == (6, 6)
    for name in ('bands.tif', 'packed.tif'):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-20])
        with pytest.raises(DataError, match=rf'{name}: cannot read'):
            bands.read(tmp_path / name, 4)
    with pytest.raises(
        DataError, match=r'three\.png: expected 4 bands, found 3 of uint8; set --config\.data\.channels=3, if all images are so'
    ):
        bands.read(_saved(tmp_path / 'three.png', Image.fromarray(PIXELS)), 4)


def _four_bands(path, **options):
    stored = RNG.integers(0, 256, (64, 48, 4), dtype=np.uint8)
    tifffile.imwrite(path, stored, photometric='rgb', extrasamples=['unspecified'], **options)
    return path


def test_strips_that_expand_to_more_than_the_image_are_refused_before_they_do(tmp_path):
    path = _four_bands(tmp_path / 'bomb.tif', compression='zlib')
    bomb = zlib.compress(bytes(2**26), 9)
    with tifffile.TiffFile(path, mode='r+') as file:
        tags = file.pages[0].tags
        tags['StripOffsets'].overwrite(path.stat().st_size)
        tags['StripByteCounts'].overwrite(len(bomb))
    path.write_bytes(path.read_bytes() + bomb)
    tracemalloc.start()
    with pytest.raises(DataError, match=r'bomb\.tif: damaged image, strip or tile 0 expands to more than its 12288 bytes'):
        bands.read(path, 4)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@pytest.mark.parametrize(
    ('options', 'changes', 'message'),
    [
        ({'compression': 'lzma'}, {}, 'compression 34925 of a four-band TIFF file is not supported'),
        ({'compression': 'zlib'}, {'Compression': 32773}, 'compression 32773 of a four-band TIFF file is not supported'),
        ({'compression': 'zlib'}, {'Compression': 50_000}, 'compression 50000 of a four-band TIFF file is not supported'),
        ({'tile': (16, 16)}, {'TileWidth': 65_520, 'TileLength': 65_520}, 'strips or tiles are larger than itself'),
        ({}, {'ImageWidth': 0}, 'expected'),
        ({}, {'ImageLength': 0}, 'expected'),
        ({'tile': (16, 16)}, {'TileWidth': 0}, 'cannot read this TIFF file'),
        ({}, {'ImageWidth': 70_000}, '70000 x 64 pixels exceed the limit'),
        ({}, {'ImageLength': 60_000}, 'cannot read this TIFF file'),
        ({}, {'SamplesPerPixel': 60_000}, 'cannot read this TIFF file'),
        ({'compression': 'zlib'}, {'StripOffsets': 2**31}, 'cannot read this TIFF file'),
    ],
)
def test_four_band_files_that_contradict_themselves_are_refused(tmp_path, options, changes, message):
    path = _four_bands(tmp_path / 'bands.tif', **options)
    for tag, value in changes.items():
        with tifffile.TiffFile(path, mode='r+') as file:
            file.pages[0].tags[tag].overwrite(value)
    with pytest.raises(DataError, match=rf'bands\.tif.*{message}'):
        bands.read(path, 4)


def test_damaged_four_band_files_give_bands_or_a_message(tmp_path):
    chance = np.random.default_rng(0)
    ways = ({}, {'compression': 'zlib'}, {'tile': (16, 16), 'compression': 'zlib', 'predictor': True}, {'bigtiff': True})
    whole = [_four_bands(tmp_path / 'bands.tif', **options).read_bytes() for options in ways]
    path, read = tmp_path / 'damaged.tif', 0
    for number in range(400):
        content = np.frombuffer(whole[number % len(whole)], np.uint8).copy()
        places = chance.integers(0, 300 if number % 3 else len(content), 1 + number % 5)
        content[places] ^= np.uint8(1) << chance.integers(0, 8, len(places), dtype=np.uint8)
        path.write_bytes(content.tobytes())
        try:
            assert bands.read(path, 4).shape[2] == 4
            read += 1
        except DataError as error:
            assert str(error).startswith(f'{path}: ')
    assert 50 < read < 350
