"""Prediction as a user starts it; what it does with odd files is in test_untrusted.py."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.support import clusterless, commands, rasters


def test_prediction_writes_label_maps_and_goes_on_past_a_bad_file(trained, tmp_path):
    images, output = tmp_path / 'images', tmp_path / 'labels'
    (images / 'deeper').mkdir(parents=True)
    rng = np.random.default_rng(0)
    sizes = {'a.png': (37, 61), 'deeper/b.jpg': (50, 33)}
    for name, size in sizes.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(images / name)
    (images / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\nnot really')
    done = commands.run('predict', f'--workdir={trained.directory}', f'--input={images}', f'--output={output}')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if 'broken.png' in line)
    assert line.startswith(f'{images / "broken.png"}: damaged or truncated image (')
    assert '2 label maps' in done.stderr and '1 files could not be read' in done.stderr
    for name, size in sizes.items():
        label = Image.open(output / Path(name).with_suffix('').parent / f'{Path(name).stem}_labels.png')
        assert label.mode == 'P' and label.size == size[::-1] and set(np.unique(label)) <= {0, 1, 2}
        assert Image.open(output / Path(name).parent / f'{Path(name).stem}_overlay.png').size == size[::-1]
    classes = json.loads((output / 'classes.json').read_text())['classes']
    assert [entry['name'] for entry in classes] == ['brick', 'grass', 'gravel']


def test_a_geotiff_gets_one_in_return(trained, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 61, 3), dtype=np.uint8)
    corner = (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 3e6, 0.0), True)
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb', extratags=[corner, (33550, 12, 3, (2.0, 2.0, 0.0), True)])
    done = commands.run(
        'predict', f'--workdir={trained.directory}', f'--input={tmp_path / "a.tif"}', f'--output={tmp_path / "out"}'
    )
    assert done.returncode == 0, done.stderr
    with tifffile.TiffFile(tmp_path / 'out' / 'a_labels.tif') as file:
        assert file.pages[0].tags[33922].value[3:5] == (5e5, 3e6) and file.pages[0].tags[33550].value == (2.0, 2.0, 0.0)
        np.testing.assert_array_equal(file.asarray(), Image.open(tmp_path / 'out' / 'a_labels.png'))


def test_a_virtual_mosaic_and_its_polygons(trained, tmp_path):
    """By windows, as the same pixels are at once."""
    reason = 'the extra geo is not installed'
    rasterio, pyogrio = (pytest.importorskip(name, reason=reason) for name in ('rasterio', 'pyogrio'))
    image = rasters.smooth(150, 210)
    image[:40, :50] = 0
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb')
    (tmp_path / 'in').mkdir()
    rasters.virtual(tmp_path / 'in' / 'b.vrt', tmp_path / 'a.tif', 150, 210, more='<NoDataValue>0</NoDataValue>', name='../a.tif')
    tifffile.imwrite(tmp_path / 'in' / 'a.tif', image, photometric='rgb', extratags=[(42113, 2, 0, '0', True)])
    (tmp_path / 'in' / 'bad.vrt').write_text((tmp_path / 'in' / 'b.vrt').read_text().replace('../a.tif', '/vsicurl/http://a'))
    (tmp_path / 'names.json').write_text(json.dumps({'names': {'0': 'rest', '1': 'rest', '2': 'rest'}}))
    options = (f'--names={tmp_path / "names.json"}', f'--polygons={tmp_path / "areas.gpkg"}', '--min_area=5')
    places = (f'--workdir={trained.directory}', f'--input={tmp_path / "in"}', f'--output={tmp_path / "out"}')
    done = commands.run('predict', *places, *options)
    assert (
        done.returncode == 1
        and "'/vsicurl/http://a' is no file on this machine" in done.stderr
        and 'Traceback' not in done.stderr
    )
    found = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert found == ['a_labels.png', 'a_overlay.png', 'b_labels.tif', 'b_overlay.png', 'classes.json']
    with rasterio.open(tmp_path / 'out' / 'b_labels.tif') as file:
        np.testing.assert_array_equal(file.read(1), Image.open(tmp_path / 'out' / 'a_labels.png'))
        assert file.crs.to_epsg() == 32633 and file.transform[2] == 400000
    images = [np.array(Image.open(tmp_path / 'out' / f'{name}_overlay.png')) for name in 'ab']
    np.testing.assert_array_equal(*images)
    for layer, image in (('pixels', 'a.tif'), ('epsg_32633', 'b.vrt')):
        meta, _, _, fields = pyogrio.raw.read(tmp_path / 'areas.gpkg', layer=layer)
        table = dict(zip(meta['fields'], fields, strict=True))
        assert table['image'].tolist() == [image] and table['name'].tolist() == ['rest']
        assert table['pixels'].tolist() == [150 * 210 - 40 * 50]


def test_a_method_without_clusters_is_refused_before_anything_is_written(trained, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / 'a.png')
    options = (f'--workdir={trained.directory}', f'--input={tmp_path / "a.png"}', f'--output={tmp_path / "out"}')
    done = subprocess.run(
        [sys.executable, clusterless.__file__, *options], env=commands.environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stderr.startswith('error: Clusterless predicts no clusters, so there is nothing to segment'), done.stderr
    assert not (tmp_path / 'out').exists()


def test_an_output_that_would_become_input_is_refused(trained, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / 'a.png')
    done = commands.run('predict', f'--workdir={trained.directory}', f'--input={tmp_path}', f'--output={tmp_path / "out"}')
    assert done.returncode == 1
    advice = 'where its label maps would become input; choose another'
    assert done.stderr == f'error: --output {tmp_path / "out"} lies inside --input {tmp_path}, {advice}\n'
    assert [path.name for path in tmp_path.iterdir()] == ['a.png']
