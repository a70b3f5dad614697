"""What data anybody may have written or damaged: refused with a message that names it."""

import json
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax import sharding
from ar_seg_jax.data import builder, folder, images, pipeline
from ar_seg_jax.data.form import Form
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.errors import UserError
from ar_seg_jax.runs import assembly, workdir


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        *(
            ({'channels': found}, r'images have 3 channels \(RGB\) or up to 16 \(as stored\), found ')
            for found in (2, 17, '3', [3])
        ),
        *(
            ({'rescale': found}, r'rescale is a number from 0\.001 to 1000, found ')
            for found in (0, -1.0, 1e9, 10**400, float('nan'), '1', None, True)
        ),
        *(
            ({'shorter_side': found}, 'shorter_side is a number of pixels up to 65535, found ')
            for found in (-1, 65_536, 1.0, True, '320', None)
        ),
        *(
            ({'ranges': found}, 'ranges are two finite numbers, the first the lower one, of each channel; found ')
            for found in (7, 'abc', [[0, 1]], [[0, 1], [0, 1], [1, 1]], [[0, 1], [0, 1], [0, float('nan')]], [[0, 1, 2]] * 3)
        ),
    ],
)
@pytest.mark.usefixtures('as_users_have_it')
def test_forms_of_images_that_cannot_be_are_refused(wrong, message):
    content = {'channels': 3, 'rescale': 0.5, 'classes': []}
    assert Form.from_json(Path('data.json'), content) == Form(3, 0.5)
    with pytest.raises(DataError, match=rf'^data\.json: {message}'):
        Form.from_json(Path('data.json'), content | wrong)


def _record(height=6, width=5, **changes):
    image, label = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    return {'id': b'a', 'image': images.encode_png(image), 'label': images.encode_png(label)} | changes


def _header(width, height):
    """A PNG image that claims to be of this size."""
    png = images.encode_png(np.zeros((1, 1), np.uint8))
    header = png[12:16] + width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + png[24:29]
    return png[:12] + header + zlib.crc32(header).to_bytes(4, 'big') + png[33:]


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'label': None}, 'no label; prepare the data again'),
        ({'image': None, 'label': 3}, 'no image and no label'),
        ({'image': _record()['image'][:45]}, 'its image: damaged image'),
        ({'image': b'nothing'}, 'its image: not an image'),
        ({'image': _header(30_000, 30_000)}, r'its image: Image size \(900000000 pixels\)'),
        ({'image': _header(10_000, 10_000)}, 'its image: 10000 x 10000 pixels exceed the limit'),
        ({'label': _header(1, 80_000)}, 'its label map: 1 x 80000 pixels exceed the limit'),
        ({'label': _record()['image']}, 'its label map: expected an image of mode L, found RGB'),
        (
            {'image': _record()['label']},
            'its image: expected RGB, RGBA, or more than four bands of 5 pixels side by side, found 5 pixels',
        ),
        ({'label': _record(5, 6)['label']}, 'the label map is 6 x 5 pixels but its image 5 x 6'),
    ],
)
def test_a_damaged_prepared_example_is_named(change, message):
    assert pipeline.decode(_record())['label'].shape == (6, 5)
    with pytest.raises(DataError, match=f"prepared example 'a'.*{message}"):
        pipeline.decode(_record(**change))


@pytest.mark.parametrize('workers', [0, 2])
def test_a_damaged_prepared_example_is_named_by_whatever_reads_it(workers):
    records = [_record(id=b'%d' % index, **({'image': b'nothing'} if index == 3 else {})) for index in range(4)]
    with pytest.raises(DataError, match="prepared example '3', its image: not an image"):
        next(pipeline.training_iterator(records, crop_size=4, batch_size=4, seed=0, workers=workers))


NAMED = {'id': 0, 'name': 'road', 'color_rgb': [1, 2, 3]}


@pytest.mark.parametrize(
    ('file', 'content', 'variant', 'message'),
    [
        ('classes.json', b'[' * 100_000, '', 'not JSON'),
        ('classes.json', b'\xff', '', 'not JSON'),
        ('classes.json', b'[1]', '', 'expected a JSON object, found list'),
        ('classes.json', {'classes': 3}, '', 'expected a class'),
        ('classes.json', {'classes': [3]}, '', 'expected a class'),
        ('classes.json', {'classes': [NAMED | {'id': 256}]}, '', 'expected a class'),
        ('classes.json', {'classes': [NAMED | {'id': '0'}]}, '', 'expected a class'),
        ('classes.json', {'classes': [NAMED | {'name': 'a\x1b'}]}, '', 'expected a class'),
        ('classes.json', {'classes': [NAMED | {'color_rgb': [1, 2, 300]}]}, '', 'expected a class'),
        ('classes.json', {'classes': [NAMED, NAMED]}, '', 'ids of classes must differ'),
        ('classes.json', {'classes': [NAMED], 'ignore': []}, '', '"ignore" be a number'),
        ('classes.json', {'classes': [NAMED], 'v': {'names': ['a'], 'map': {'0': 1}}}, 'v', 'expected a variant'),
        ('classes.json', {'classes': [NAMED], 'v': {'names': ['a'], 'map': {'-1': 0}}}, 'v', 'expected a variant'),
        ('classes.json', {'classes': [NAMED], 'v': {'names': 3, 'map': {'0': 0}}}, 'v', 'expected a variant'),
        ('splits.csv', b'id,split\na,../../../outside\n', '', r"letters, digits, _ and -, found '\.\./"),
        ('splits.csv', b'id,split\na\n', '', "letters, digits, _ and -, found ''; the line is 'a'"),
        ('splits.csv', b'id,split\na,"' + b'x' * 200_000 + b'"\n', '', 'not a table in CSV format'),
        ('splits.csv', b'id,split\na,\xff\n', '', 'not a table in CSV format'),
    ],
)
def test_tables_of_a_folder_are_checked(tmp_path, file, content, variant, message):
    root = tmp_path / 'pack'
    for part in ('images', 'labels'):
        (root / part).mkdir(parents=True)
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(root / part / 'a.png')
    (root / file).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(UserError, match=f'{file}(, line 2)?: .*{message}'):
        folder.builder(data_dir=str(tmp_path / 'data'), root=str(root), variant=variant, block_size=0)
    assert not (tmp_path / 'data').exists()


@pytest.mark.parametrize('file', ['images/b.png', 'labels/a.png', 'classes.json', 'splits.csv'])
def test_a_pipe_in_a_folder_is_refused_and_not_waited_for(tmp_path, file):
    root = tmp_path / 'pack'
    for part in ('images', 'labels'):
        (root / part).mkdir(parents=True)
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(root / part / 'a.png')
    (root / file).unlink(missing_ok=True)
    os.mkfifo(root / file)
    with pytest.raises(DataError, match=f'{file}: not a regular file'):
        builder.prepare(folder.builder(data_dir=str(tmp_path / 'data'), root=str(root), block_size=0))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'version': '2.0.0'},
            r'^prepared data in .*/1\.0\.0 is damaged, or of another version \(.*Proto version: 2\.0\.0\); rem',
        ),
        (
            {'fileFormat': 'nonsense'},
            r"is damaged, or of another version \('nonsense' is not a valid FileFormat\); remove it to ",
        ),
        (
            {'fileFormat': 'tfrecord'},
            r'/1\.0\.0: expected prepared data in the format array_record, found tfrecord; remove it to ',
        ),
        ({'splits': []}, r'/1\.0\.0: prepared data without splits; remove it to prepare it again$'),
    ],
)
def test_prepared_data_of_another_version_or_format_is_named(trained, tmp_path, changes, message):
    shutil.copytree(trained.data_dir, tmp_path / 'data')
    (path,) = (tmp_path / 'data').rglob('dataset_info.json')
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    config = workdir.load_config(trained.directory)
    config['data']['data_dir'] = str(tmp_path / 'data')
    with pytest.raises(DataError, match=message):
        assembly.prepared(assembly.dataset(config, sharding.make_mesh()), may_write=True)


@pytest.mark.parametrize(
    ('file', 'before', 'after'),
    [
        ('dataset_info.json', b'"shardLengths": [\n        "16"', b'"shardLengths": [\n        "12"'),  # would be trained with
        ('dataset_info.json', b'{SHARD_X_OF_Y}', b'{SHARD_X_OG_Y}'),
        ('metadata.json', b'"void": 255', b'"void": 155'),
        ('features.json', b'', None),
        ('checksums.json', b'{', b'['),
        ('checksums.json', b'features.json', b'features.jsom'),
    ],
)
def test_damage_to_what_describes_prepared_data_is_named(trained, tmp_path, file, before, after):
    shutil.copytree(trained.data_dir, tmp_path / 'data')
    (path,) = (tmp_path / 'data').rglob(file)
    content = path.read_bytes()
    assert before in content
    path.unlink()
    if after is not None:
        path.write_bytes(content.replace(before, after))
    config = workdir.load_config(trained.directory)
    config['data']['data_dir'] = str(tmp_path / 'data')
    with pytest.raises(
        UserError, match=rf'/1\.0\.0/(checksums|features|{path.stem})\.json.*; remove .*/1\.0\.0 to prepare it again$'
    ):
        assembly.prepared(assembly.dataset(config, sharding.make_mesh()), may_write=True)


@pytest.mark.parametrize(
    ('pattern', 'message'),
    [
        ('dataset_info.json', r'^prepared data in .* is damaged, or of another version \(.*\); remove it to prepare it again$'),
        ('*.array_record*', r"^split 'train' in .*: example \d+ is damaged \(.*\); remove it all to prepare it again$"),
    ],
)
def test_damaged_prepared_data_is_named(trained, tmp_path, pattern, message):
    shutil.copytree(trained.data_dir, tmp_path / 'data')
    for file in (tmp_path / 'data').rglob(pattern):
        content = np.frombuffer(file.read_bytes(), np.uint8).copy()
        used = np.flatnonzero(content)  # records end in zeros up to the end of a block
        content[used[used.size // 3 : used.size // 2]] ^= 0xFF
        file.write_bytes(content)
    config = workdir.load_config(trained.directory)
    config['data']['data_dir'] = str(tmp_path / 'data')
    with pytest.raises(DataError, match=message):
        examples = assembly.prepared(assembly.dataset(config, sharding.make_mesh()), may_write=False).examples('train')
        [examples[index] for index in range(len(examples))]
