"""The objects of new images, from Python and from the commands, with a method that knows them by their colours."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.data import images
from ar_seg_jax.errors import UserError
from tests.support import commands, squares

IMAGE, LABEL = squares.painted(squares.SQUARES[1])


@pytest.fixture(scope='module')
def network():
    return squares.trained()


def _command(name, *options):
    line = [sys.executable, squares.__file__, name, '--workdir=nowhere', *options]
    return subprocess.run(line, env=commands.environment(), capture_output=True, text=True, timeout=300)


def test_an_image_of_any_size_is_brought_to_that_of_the_method_and_its_labels_back(network):
    image, label = (part.repeat(4, 0).repeat(3, 1) for part in (IMAGE, LABEL))
    found = network.objects(image)
    np.testing.assert_array_equal(found.labels, label)
    np.testing.assert_array_equal(network.segment(image), label)
    np.testing.assert_array_equal(network.clusters(image), label)
    assert network.scores(image).shape == (64, 48, 4)
    np.testing.assert_array_equal(found.image, images.resize(image, 16, 16))
    np.testing.assert_array_equal(found.reconstruction, IMAGE)  # edges, which are blurred, are those of one colour or the other
    np.testing.assert_array_equal(found.background, np.broadcast_to(squares.FLOOR, IMAGE.shape))
    assert found.glimpses.shape == (3, 8, 8, 4) and found.glimpses[1, 0, 0].tolist() == [*squares.COLOURS[1], 255]
    np.testing.assert_allclose(found.attention.sum((1, 2)), 1, atol=1e-5)
    rows, columns = np.nonzero(LABEL == 2)
    np.testing.assert_allclose(found.places[1], [columns.mean() / 7.5 - 1, rows.mean() / 7.5 - 1, 2, 2], rtol=0.1)


def test_a_batch_of_images_has_the_objects_of_each(network):
    batch = np.stack([IMAGE, IMAGE[::-1]])
    found = network.objects(batch)
    for index, image in enumerate(batch):
        for part, expected in zip(found, network.objects(image), strict=True):
            np.testing.assert_array_equal(part[index], expected)


def test_a_method_without_glimpses_knows_of_no_objects(trained):
    import ar_seg_jax

    with pytest.raises(UserError, match=r'^AC knows of no objects; segment\(\) gives its clusters$'):
        ar_seg_jax.load(trained.directory).objects(IMAGE)


def test_predict_writes_masks_boxes_and_pictures(tmp_path):
    source, output = tmp_path / 'images', tmp_path / 'out'
    (source / 'deeper').mkdir(parents=True)
    shown = {'a.png': 0, 'deeper/b.png': 1, 'empty.png': 2}
    for name, index in shown.items():
        image, _ = squares.painted(squares.SQUARES[index])
        Image.fromarray(image.repeat(2, 0).repeat(3, 1)).save(source / name)
    (source / 'broken.png').write_bytes(b'nothing')
    done = _command('predict', f'--input={source}', f'--output={output}')
    assert done.returncode == 1 and 'Traceback' not in done.stderr and '3 label maps' in done.stderr, done.stderr
    content = json.loads((output / 'instances.json').read_text())
    assert content['info']['description'] == 'found by By colour after step 7'
    assert {entry['file_name'] for entry in content['images']} == set(shown)
    for entry in content['images']:
        label = squares.labels(shown[entry['file_name']]).repeat(2, 0).repeat(3, 1)
        stem = entry['file_name'].removesuffix('.png')
        written = Image.open(output / f'{stem}_labels.png')
        assert written.mode == 'P' and (entry['width'], entry['height']) == written.size == label.shape[::-1]
        np.testing.assert_array_equal(written, label)
        own = {one['number']: one for one in content['annotations'] if one['image_id'] == entry['id']}
        assert set(own) == set(np.unique(label).tolist()) - {0}
        for number, one in own.items():
            rows, columns = np.nonzero(label == number)
            assert one['area'] == len(rows) and one['bbox'][:2] == [columns.min(), rows.min()]
        picture = Image.open(output / f'{stem}_objects.png')
        assert picture.width > (4 + len(own)) * 160  # image, background, reconstruction, objects and a glimpse of each
    classes = json.loads((output / 'classes.json').read_text())['classes']
    assert [entry['name'] for entry in classes] == ['background', 'object 1', 'object 2', 'object 3']


def test_figures_draw_the_slots_of_a_run_for_an_image(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / 'a.png')
    done = _command('figures', f'--image={tmp_path / "a.png"}', f'--output={tmp_path / "out"}')
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['slots.png']
