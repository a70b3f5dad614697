"""From rasters of many bands, 16 bits and a collar without data to label maps that lie where the rasters do."""

import json

import numpy as np
import tifffile

from tests.support import commands

BANDS, SIDE, COLLAR = 5, 64, 10
PLACE = [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 3e6, 0.0), True)]


def _write(path, rng):
    """Two grounds that differ in the last two bands only, within a collar; the left one is the first."""
    pixels = rng.normal(2000, 100, (SIDE, SIDE, BANDS))
    pixels[:, SIDE // 2 :, -2:] += 4000
    pixels[:COLLAR] = 0
    tags = [*PLACE, (42113, 2, 0, '0', True)]
    tifffile.imwrite(path, pixels.astype(np.uint16), photometric='minisblack', planarconfig='contig', extratags=tags)


def test_deep_rasters_with_a_collar_become_label_maps(tmp_path):
    rng, root = np.random.default_rng(0), tmp_path / 'rasters'
    root.mkdir()
    for index in range(4):
        _write(root / f'{index}.tif', rng)
    options = ('steps=20', 'pipeline.batch_size=4', 'evaluation.batch_size=4', 'method.num_clusters=2', 'data.rescale=1.0')
    options += ('data.block_size=32', 'pipeline.crop_size=32', f'data.channels={BANDS}', f'data.root={root}', 'evaluate_every=0')
    options += (f'data.data_dir={tmp_path / "tfds"}', 'model.relative=none')
    config = [f'--config.{option}' for option in options]
    done = commands.run('main', '--config=configs/mixture_folder.py', *config, f'--workdir={tmp_path / "run"}')
    assert done.returncode == 0, done.stderr
    assert 'Bands are brought to 8 bits, from ' in done.stderr
    ranges = json.loads((tmp_path / 'run' / 'data.json').read_text())['ranges']
    assert len(ranges) == BANDS and 1700 < ranges[0][0] < 1900 and 6100 < ranges[-1][1] < 6400
    done = commands.run('predict', f'--workdir={tmp_path / "run"}', f'--input={root / "0.tif"}', f'--output={tmp_path / "maps"}')
    assert done.returncode == 0, done.stderr
    with tifffile.TiffFile(tmp_path / 'maps' / '0_labels.tif') as file:
        labels = file.asarray()
        assert file.pages[0].tags[33922].value == PLACE[1][3] and file.pages[0].nodata == 255
    assert (labels[:COLLAR] == 255).all()
    left, right = labels[COLLAR:, : SIDE // 2], labels[COLLAR:, SIDE // 2 :]
    assert {np.bincount(left.ravel()).argmax(), np.bincount(right.ravel()).argmax()} == {0, 1}
    assert min(np.mean(left == np.bincount(left.ravel()).argmax()), np.mean(right == np.bincount(right.ravel()).argmax())) > 0.95
