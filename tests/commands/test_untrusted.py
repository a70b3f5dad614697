"""Files from anywhere: refused with a message, never executed, and nothing is written where it does not belong."""

import ast
import dataclasses
import io
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest
from ar_seg_jax.text import printable
from PIL import Image

from ar_seg_jax import build, classes, workdir
from ar_seg_jax import run as runs
from ar_seg_jax.data import builder as builders
from ar_seg_jax.data import folder, images, pipeline
from ar_seg_jax.data.images import DataError
from ar_seg_jax.training import loop, sharding
from ar_seg_jax.training.checkpoint import Checkpoints
from configs import textures

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
ROAD = {'name': 'road', 'colour': [1, 2, 3]}


@dataclasses.dataclass
class Audit:
    """A finished program and what it did: lists of an event of `sys.audit` and its paths or words."""

    done: subprocess.CompletedProcess
    events: list[list[str]]

    def named(self, *names):
        return [event for event in self.events if event[0].startswith(names)]

    def changes_outside(self, *allowed):
        """Files that were changed elsewhere than below the allowed directories.

        /proc/self/comm, the name of a thread, is; and where Matplotlib keeps its list of fonts, below the home directory.
        """
        changes = [event for event in self.events if event[0] in ('open', 'os.truncate') or event[0] in _CHANGES]
        return [
            (event, path)
            for event, *paths in changes
            for path in paths
            if path not in ('/proc/self/comm', '/dev/null')
            and not re.search(r'/home/\.(config|cache)(/matplotlib.*)?$', path)
            and not any(Path(path).is_relative_to(os.path.realpath(place)) for place in allowed)
        ]


_CHANGES = ('os.chmod', 'os.chown', 'os.link', 'os.mkdir', 'os.remove', 'os.rename', 'os.rmdir', 'os.symlink', 'os.utime')


def audited(base, *arguments, timeout=120):
    """Python with these arguments, as an Audit. Its home and its directory for temporary files are `base`/home and `base`/tmp.

    Byte code is not written, so that what is left are the program's own files.
    """
    for name in ('home', 'tmp'):
        (base / name).mkdir(exist_ok=True)
    log = base / 'audit.log'
    log.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != 'XDG_CACHE_HOME'} | {
        'AUDIT_LOG': str(log),
        'HOME': str(base / 'home'),
        'JAX_PLATFORMS': 'cpu',
        'PYTHONDONTWRITEBYTECODE': '1',
        'PYTHONPATH': os.pathsep.join([str(ROOT / 'tests' / 'audit'), str(ROOT)]),
        'TMPDIR': str(base / 'tmp'),
        'XLA_FLAGS': '--xla_backend_optimization_level=0',  # compiles in half the time
    }
    line = [sys.executable, *map(str, arguments)]
    done = subprocess.run(line, cwd=base, env=environment, capture_output=True, text=True, errors='replace', timeout=timeout)
    return Audit(done, [json.loads(event) for event in log.read_text().splitlines()])


def _state_of(directory, without=()):
    """Size and time of everything below a directory but for some parts of it: also what an audit cannot see."""
    return {
        path: (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in directory.rglob('*')
        if not any(path.is_relative_to(part) for part in without) and not path.is_dir()
    }


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The directory of an untrained run."""
    config = textures.get_config()
    config.model.blocks = 1
    config.pipeline.crop_size = 16
    config = config.to_dict()
    directory = tmp_path_factory.mktemp('run')
    workdir.save_config(directory, config)
    workdir.save_data(directory, 3, 1.0, ())
    like = loop.initial_state(build.method(config), build.optimizer(config), 0, (1, 16, 16, 3), sharding.make_mesh())
    checkpoints = Checkpoints(workdir.checkpoints(directory), writable=True)
    checkpoints.save(like)
    checkpoints.close()
    return directory


def _encodings():
    """Real image files by a name with their ending, of two sizes."""
    found = {}
    for size in ((24, 36), (40, 24)):
        colour = Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8)).resize((48, 32))
        deep = Image.fromarray(RNG.integers(0, 65536, size, dtype=np.uint16))
        by_mode = {mode: colour.convert(mode) for mode in ('RGB', 'L', 'P', 'RGBA', '1', 'CMYK')} | {'deep': deep}
        for kind, modes, options in (
            ('png', ('RGB', 'L', 'P', 'RGBA', '1', 'deep'), {}),
            ('jpg', ('RGB', 'L', 'CMYK'), {'progressive': size[0] == 24}),
            ('tif', ('RGB', 'P', 'CMYK', 'deep'), {'compression': 'tiff_lzw' if size[0] == 24 else 'tiff_adobe_deflate'}),
            ('tiff', ('RGB', 'L', '1'), {}),
            ('bmp', ('RGB', 'L', 'P'), {}),
            ('webp', ('RGB', 'RGBA'), {'lossless': size[0] == 24}),
        ):
            for mode in modes:
                stream = io.BytesIO()
                by_mode[mode].save(stream, Image.registered_extensions()[f'.{kind}'], **options)
                found[f'{mode}-{size[0]}.{kind}'] = stream.getvalue()
    return found


_SIZES = (0, 1, 33, 4000, 65_535, 65_536, 2**31 - 1, 2**32 - 1)
_FIELDS = {'.png': ((16, 4, 'big'), (20, 4, 'big')), '.bmp': ((18, 4, 'little'), (22, 4, 'little'))}


def _resized(name, data, chance):
    """`data` with another height or width in its header, small or huge."""
    ending, size = Path(name).suffix, chance.choice(_SIZES)
    if ending in _FIELDS:
        place, length, order = chance.choice(_FIELDS[ending])
    elif ending == '.jpg':
        marker = max(data.find(b'\xff\xc0'), data.find(b'\xff\xc2'))
        place, length, order = marker + chance.choice((5, 7)), 2, 'big'
    elif ending == '.webp':
        place, length, order = chance.randrange(20, 30), 2, 'little'
    else:  # the values of ImageWidth and ImageLength, which TIFF files of Pillow begin with
        place, length, order = int.from_bytes(data[4:8], 'little') + chance.choice((10, 22)), 4, 'little'
    data = data[:place] + (size % 256**length).to_bytes(length, order) + data[place + length :]
    if ending == '.png':  # whose header has a checksum
        data = data[:29] + zlib.crc32(data[12:29]).to_bytes(4, 'big') + data[33:]
    return data


def _flipped(name, data, chance):
    data = bytearray(data)
    for _ in range(chance.choice((1, 4, 30))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _mutated(count, seed):
    """Names and contents of damaged image files."""
    chance = random.Random(seed)
    whole = list(_encodings().items())
    ways = {
        'flipped': _flipped,
        'cut': lambda name, data, chance: data[: chance.randrange(len(data))],
        'resized': _resized,
        'noise': lambda name, data, chance: data[: chance.randrange(12)] + chance.randbytes(chance.randrange(1, 500)),
        'renamed': lambda name, data, chance: data,
    }
    for number, way in zip(range(count), itertools.cycle(ways), strict=False):
        name, data = chance.choice(whole)
        content = ways[way](name, data, chance)
        if way == 'renamed':
            name = Path(name).with_suffix(chance.choice(images.SUFFIXES)).name
        yield f'{number:03}-{way}-{name}', content


@dataclasses.dataclass
class Predicted:
    """A call of predict: its input and its output, and what there was beside the output before and after."""

    audit: Audit
    source: Path
    output: Path
    unchanged: bool

    def lines(self, path):
        """What the program said about a file."""
        return [line for line in self.audit.done.stderr.splitlines() if line.startswith(printable(f'{path}: '))]

    def outputs(self, path):
        name = path.relative_to(self.source).with_suffix('').as_posix()
        return [self.output / f'{name}{ending}' for ending in ('_labels.png', '_overlay.png')]


def _predict(base, run, source, output):
    before = {**_state_of(base), **_state_of(run)}
    options = (f'--workdir={run}', f'--input={source}', f'--output={output}')
    audit = audited(base, '-m', 'ar_seg_jax.predict', *options)
    after = {**_state_of(base, [output, base / 'audit.log']), **_state_of(run)}
    return Predicted(audit, source, output, {path: before.get(path) for path in after} == after)


@pytest.fixture(scope='module')
def damaged(tmp_path_factory, run):
    """Predictions for 200 files that are damaged, or no images at all, or called in a way that fools a terminal."""
    base = tmp_path_factory.mktemp('damaged')
    source = base / 'images'
    (source / 'a directory.png').mkdir(parents=True)
    pixels = Image.fromarray(RNG.integers(0, 256, (32, 48, 3), dtype=np.uint8))
    for name in ('whole.png', 'a directory.png/whole.png', 'next\nline.png', 'clear \x1b[2J.png', os.fsdecode(b'\xff\xfe.png')):
        pixels.save(source / name)
    (source / 'empty.jpg').touch()
    (source / 'no image \x1b[2J\n.png').write_bytes(b'nothing')
    (source / 'nowhere.png').symlink_to(base / 'missing')
    (source / 'itself.png').symlink_to(source / 'itself.png')
    (source / 'device.png').symlink_to('/dev/zero')
    os.mkfifo(source / 'pipe.png')
    pixels.save(source / 'postscript.png', 'EPS')
    Image.new('1', (1, 80_000)).save(source / 'thin.png')
    with (source / 'hole.webp').open('wb') as file:
        file.write(b'RIFF\xff\xff\xff\x7fWEBPVP8L')
        file.truncate(2**33)
    count = 200 - sum(not path.is_dir() for path in source.rglob('*'))
    for name, content in _mutated(count, seed=0):
        (source / name).write_bytes(content)
    yield _predict(base, run, source, base / 'labels')
    (source / 'hole.webp').unlink()  # too large for whoever copies what tests leave


def test_predicting_damaged_files_ends_with_a_message_for_each(damaged):
    assert damaged.audit.done.returncode == 1, damaged.audit.done.stderr
    assert 'Traceback' not in damaged.audit.done.stderr and '\x1b' not in damaged.audit.done.stderr
    files = [path for path in damaged.source.rglob('*') if not path.is_dir()]
    assert len(files) == 200
    expected = {damaged.output / 'classes.json'}
    for path in files:
        (line,) = damaged.lines(path)
        try:
            shape = images.read_image(path).shape
        except DataError as error:
            assert line == printable(str(error))
        else:
            assert line.endswith('%')
            expected |= set(damaged.outputs(path))
            assert {Image.open(made).size for made in damaged.outputs(path)} == {shape[1::-1]}
    assert {path for path in damaged.output.rglob('*') if not path.is_dir()} == expected
    assert 30 < len(expected) < 300  # files of both kinds are many


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('empty.jpg', 'the file is empty'),
        ('nowhere.png', 'no such file, only a link to it'),
        ('itself.png', 'Too many levels of symbolic links'),
        ('device.png', 'not a regular file'),
        ('pipe.png', 'not a regular file'),
        ('postscript.png', 'not an image that Pillow can read; the formats are'),
        ('thin.png', '1 x 80000 pixels exceed the limit'),
        ('hole.webp', f'{2**33} bytes exceed the limit'),
    ],
)
def test_what_is_no_image_is_named_for_what_it_is(damaged, name, message):
    assert message in damaged.lines(damaged.source / name)[0]


def test_prediction_unpickles_nothing_starts_nothing_and_writes_to_its_output_only(damaged):
    audit = damaged.audit
    assert not audit.named('pickle', 'subprocess', 'os.system', 'os.exec', 'os.posix_spawn', 'os.spawn', 'socket')
    assert audit.named('os.rename') and not audit.changes_outside(damaged.output)
    assert damaged.unchanged


def test_an_audit_sees_what_a_program_does(tmp_path):
    program = (
        'import os, pickle, pathlib, subprocess, sys\n'
        'pathlib.Path("made").mkdir(); pathlib.Path("made/a").write_text(""); os.rename("made/a", "made/b")\n'
        'os.remove("b", dir_fd=os.open("made", os.O_RDONLY))\n'
        'pickle.loads(pickle.dumps(pathlib.Path()))\n'
        'subprocess.run([sys.executable, "-c", "open(\'made/c\', \'w\')"])\n'
    )
    audit = audited(tmp_path, '-c', program)
    assert audit.done.returncode == 0, audit.done.stderr
    made = str(tmp_path / 'made')
    changes = (['os.mkdir', made], ['open', f'{made}/a'], ['os.rename', f'{made}/a', f'{made}/b'], ['os.remove', f'{made}/b'])
    for event in (*changes, ['open', f'{made}/c'], ['pickle.find_class', 'pathlib', 'PosixPath']):
        assert event in audit.events
    assert audit.named('subprocess')
    assert audit.changes_outside(tmp_path) == [] and len(audit.changes_outside(tmp_path / 'home')) == 6


def test_names_of_inputs_lead_to_different_files_below_the_output(tmp_path, run):
    """The input lies in the output, which has files, links and directories of its own."""
    output, outside = tmp_path / 'output', tmp_path / 'outside'
    source = output / 'in'
    outside.mkdir()
    (outside / 'secret').write_text('as it was')
    pixels = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    # Where each input's label map is to be; the endings tell some apart, and full names take the stems of others.
    places = {
        **{'a.png': 'a.png', 'a.bmp': 'a.bmp', 'a.png.png': 'a.png.png', 'a_labels.png': 'a_labels', 'b/a.png': 'b/a'},
        **{'c..png': 'c.', 'e_labels.png': 'e_labels', 'one/f.png': 'one/f', 'followed.png': 'followed', 'g.png': 'g'},
        **dict.fromkeys(
            ['linked/d.png', 'deeper/linked/d.png', 'loop/d.png', 'file/d.png', 'taken.png', 'in/e.png', 'two/f.png']
        ),
        **dict.fromkeys(['g_labels.png/g.png', 'n' * 250 + '.png']),
    }
    for name in places:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        pixels.save(source / name)
    inputs = {path: path.read_bytes() for path in source.rglob('*.png') if path.is_file()}
    (output / 'deeper').mkdir()
    (output / 'linked').symlink_to(outside)
    (output / 'deeper' / 'linked').symlink_to('../../outside')
    (output / 'loop').symlink_to('loop')
    (output / 'file').touch()
    (output / 'taken_labels.png').mkdir()
    (output / 'one').mkdir()
    (output / 'two').symlink_to('one')
    for name in ('followed_labels.png', 'classes.json'):
        (output / name).symlink_to(outside / 'secret')
    predicted = _predict(tmp_path, run, source, output)
    assert predicted.audit.done.returncode == 1 and 'Traceback' not in predicted.audit.done.stderr, predicted.audit.done.stderr
    for name, place in places.items():
        (line,) = predicted.lines(source / name)
        assert line.endswith('%') == (place is not None), line
        if place:
            made = output / f'{place}_labels.png'
            assert made.is_file() and not made.is_symlink() and Image.open(made).mode == 'P'
    for name, message in (
        ('linked/d.png', 'leads out of --output'),
        ('taken.png', 'which is a directory'),
        ('in/e.png', 'would replace'),
        ('two/f.png', 'would replace'),
        ('file/d.png', 'cannot write'),
    ):
        assert message in predicted.lines(source / name)[0]
    assert (outside / 'secret').read_text() == 'as it was' and list(outside.iterdir()) == [outside / 'secret']
    assert {path: path.read_bytes() for path in inputs} == inputs and predicted.unchanged
    assert not predicted.audit.changes_outside(output)


def test_a_single_input_whose_name_is_dots_stays_in_the_output(tmp_path, run):
    source = tmp_path / '..png'
    Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(source, 'PNG')
    predicted = _predict(tmp_path, run, source, tmp_path / 'output')
    assert predicted.audit.done.returncode == 0, predicted.audit.done.stderr
    assert not predicted.audit.changes_outside(tmp_path / 'output') and predicted.unchanged
    assert {path.name for path in (tmp_path / 'output').iterdir()} == {'classes.json', '._labels.png', '._overlay.png'}


def test_classes_of_another_number_of_clusters_are_refused(tmp_path, run):
    source, directory = tmp_path / 'image.png', tmp_path / 'run'
    Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(source)
    shutil.copytree(run, directory)
    workdir.write_json(workdir.evaluation(directory, 0), {'clusters': {'mapping': [0, -1], 'classes': [ROAD]}})
    predicted = _predict(tmp_path, directory, source, tmp_path / 'output')
    assert predicted.audit.done.returncode == 1
    assert '000000.json: classes of 2 clusters, but the model has 3' in predicted.audit.done.stderr
    assert not (tmp_path / 'output').exists()


def test_classes_come_back_from_json():
    assert classes.from_json(Path('f'), [ROAD]) == (classes.Class('road', (1, 2, 3)),)
    assert classes.mapping_from_json(Path('f'), [0, -1, 1], 2) == [0, -1, 1]


@pytest.mark.parametrize(
    'entries',
    [
        None,
        {'name': 'road'},
        [None],
        [ROAD] * 256,
        [ROAD | {'name': 3}],
        [ROAD | {'name': 'clear \x1b[2J'}],
        [ROAD | {'name': 'two\nlines'}],
        [ROAD | {'colour': [1, 2]}],
        [ROAD | {'colour': [1, 2, 256]}],
        [ROAD | {'colour': [1, 2, -1]}],
        [ROAD | {'colour': [1, 2, 0.5]}],
        [ROAD | {'colour': 'red'}],
    ],
)
def test_classes_of_another_form_are_refused_by_the_name_of_the_file(entries):
    with pytest.raises(ValueError, match=r'evaluation\.json: expected a (class|list)') as refused:
        classes.from_json(Path('evaluation.json'), entries)
    assert len(str(refused.value)) < 400 and str(refused.value).isprintable()


@pytest.mark.parametrize('mapping', [None, 'ab', [2], [-2], [0.0], [True], ['0'], [[0]]])
def test_a_mapping_to_what_is_no_class_is_refused(mapping):
    with pytest.raises(ValueError, match=r'f\.json: expected for each cluster one of 2 classes'):
        classes.mapping_from_json(Path('f.json'), mapping, 2)


@pytest.mark.parametrize(
    ('channels', 'rescale'),
    [
        (2, 1.0),
        ('3', 1.0),
        ([3], 1.0),
        (3, 0),
        (3, -1.0),
        (3, 1e9),
        (3, 10**400),
        (3, float('nan')),
        (3, '1'),
        (3, None),
        (3, True),
    ],
)
def test_channels_and_scales_that_cannot_be_are_refused(channels, rescale):
    images.check_form('data.json', 4, 0.5)
    with pytest.raises(DataError, match=r'data\.json: (images have|rescale is)'):
        images.check_form('data.json', channels, rescale)


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
        ({'image': _record()['label']}, 'its image: expected an image of mode RGB or RGBA, found L'),
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
        ('classes.json', b'[' * 100_000, '', 'not a file in JSON format'),
        ('classes.json', b'\xff', '', 'not a file in JSON format'),
        ('classes.json', b'[1]', '', r'expected {"classes": \[\.\.\.\]}'),
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
        ('splits.csv', b'id,split\na\n', '', 'letters, digits, _ and -, found None'),
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
    with pytest.raises(DataError, match=f'{file}: .*{message}'):
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
        builders.prepare(folder.builder(data_dir=str(tmp_path / 'data'), root=str(root), block_size=0))


FORBIDDEN = {
    'modules': {'pickle', 'marshal', 'shelve', 'dill', 'cloudpickle', 'joblib', 'yaml', 'ctypes', 'importlib', 'code'},
    'functions': {'eval', 'exec', 'compile', '__import__', 'system', 'popen', 'read_pickle'},
    'keywords': {'allow_pickle', 'shell'},
}


def _dangerous(source):
    """Places in a Python program that run or load what only trusted files may hold."""
    for node in ast.walk(ast.parse(source)):
        names, kind = [], 'modules'
        match node:
            case ast.Import():
                names = [name for alias in node.names for name in alias.name.split('.')]
            case ast.ImportFrom():
                names = [*(node.module or '').split('.'), *(alias.name for alias in node.names)]
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name, value=ast.Name(id='os'))):
                names, kind = [name], 'functions'
            case ast.keyword(arg=name, value=ast.Constant(value=True)):
                names, kind = [name], 'keywords'
        yield from ((node.lineno, name) for name in names if name in FORBIDDEN[kind])


@pytest.mark.parametrize(
    'source',
    ['import pickle', 'from os import path\nfrom pickle import loads', 'import numpy.pickle', 'f(eval("1"))', 'os.system("ls")',
     'np.load(path, allow_pickle=True)', 'subprocess.run("ls", shell=True)', 'from a import marshal'],
)  # fmt: skip
def test_the_search_for_dangerous_calls_finds_them(source):
    assert list(_dangerous(source))


@pytest.mark.parametrize('path', sorted(Path(ROOT, 'ar_seg_jax').rglob('*.py')), ids=lambda path: path.stem)
def test_nothing_in_the_package_runs_or_unpickles_files(path):
    assert not list(_dangerous(path.read_text()))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run of two steps that `main` made under an audit, and the audit."""
    base = tmp_path_factory.mktemp('trained')
    (base / 'runs').mkdir()
    keys = {
        'data.data_dir': base / 'data',
        'data.size': 48,
        'data.train_count': 8,
        'data.val_count': 2,
        'pipeline.crop_size': 32,
        'pipeline.batch_size': 4,
        'evaluation.batch_size': 2,
        'evaluation.probe_steps': 2,
        'model.blocks': 1,
        'steps': 2,
    }
    arguments = [f'--config.{key}={value}' for key, value in keys.items()]
    config = ROOT / 'configs' / 'textures.py'
    return base, audited(base, '-m', 'ar_seg_jax.main', f'--config={config}', f'--workdir={base / "runs" / "one"}', *arguments)


def test_training_unpickles_nothing_and_writes_to_its_directories_only(trained):
    base, audit = trained
    assert audit.done.returncode == 0, audit.done.stderr
    # TensorBoard's events, and the bare object that ends them, travel pickled between threads, and through no file.
    own = ('tensorboardX.proto.event_pb2', 'Event'), ('builtins', 'object')
    unpickled = [event for event in audit.named('pickle') if tuple(event[1:]) not in own]
    assert not unpickled and not audit.named('os.system', 'socket')
    allowed = (base / 'runs' / 'one', base / 'runs' / '.compilation_cache', base / 'data', base / 'tmp')
    assert not audit.changes_outside(*allowed)


def _altered(directory, **changes):
    """Replaces keys 'part__key' of the saved config; None removes one."""
    path = directory / 'config.json'
    config = json.loads(path.read_text())
    for key, value in changes.items():
        *parts, last = key.split('__')
        target = config
        for part in parts:
            target = target[part]
        target.pop(last) if value is None else target.update({last: value})
    path.write_text(json.dumps(config))


def test_evaluating_a_run_from_elsewhere_writes_only_there(trained):
    base, _ = trained
    runs, outside = base / 'elsewhere', base / 'outside'
    shutil.copytree(base / 'runs' / 'one', runs / 'one')
    _altered(runs / 'one', compilation_cache=str(outside / 'cache'))
    audit = audited(base, '-m', 'ar_seg_jax.evaluate', f'--workdir={runs / "one"}')
    assert audit.done.returncode == 0, audit.done.stderr
    assert not audit.named('pickle', 'os.system', 'socket')
    assert not audit.changes_outside(runs / 'one', runs / '.compilation_cache', base / 'tmp')
    # What is evaluated is no matter from here on.
    _altered(runs / 'one', data__data_dir=str(outside / 'data'), evaluation__baselines=False, evaluation__probes=[])
    audit = audited(base, '-m', 'ar_seg_jax.evaluate', f'--workdir={runs / "one"}')
    assert audit.done.returncode == 1 and 'give --data_dir=DIR to prepare it in DIR' in audit.done.stderr
    audit = audited(base, '-m', 'ar_seg_jax.evaluate', f'--workdir={runs / "one"}', f'--data_dir={base / "data"}')
    assert audit.done.returncode == 0, audit.done.stderr
    shutil.rmtree(runs / 'one' / 'pictures')
    (runs / 'one' / 'pictures').symlink_to(outside)
    audit = audited(base, '-m', 'ar_seg_jax.evaluate', f'--workdir={runs / "one"}', f'--data_dir={base / "data"}')
    assert audit.done.returncode == 1 and f'pictures is a link to {outside}, outside of the run' in audit.done.stderr
    assert not outside.exists()


@pytest.mark.parametrize(
    'changes', [{'keep_every': None}, {'evaluation': 5}, {'data': []}, {'method__orderings': 3}, {'seed': 'z'}, {'model': None}]
)
def test_a_config_of_another_version_is_named(trained, tmp_path, monkeypatch, changes):
    base, _ = trained
    shutil.copytree(base / 'runs' / 'one', tmp_path / 'run')
    _altered(tmp_path / 'run', pipeline__batch_size=8, evaluation__batch_size=8)  # there are 8 devices here
    _altered(tmp_path / 'run', **changes)
    monkeypatch.setattr(jax.config, 'update', lambda *_: None)  # no compilation cache in the process of the tests
    message = r'config\.json does not describe a run of this version'
    with pytest.raises(ValueError, match=message), workdir.explained(tmp_path / 'run'):
        opened = runs.open_run(workdir.load_config(tmp_path / 'run'), tmp_path / 'run', training=False)
        runs.initial_state(opened)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([], 'expected an object with clusters'),
        ({'clusters': 3}, 'expected "clusters" with their "mapping" and "classes"'),
        (
            {'clusters': {'mapping': [0], 'classes': [{'name': 'a\x1b[2J', 'colour': [1, 2, 3]}]}},
            'expected a class with a printable',
        ),
        ({'clusters': {'mapping': [1], 'classes': [ROAD]}}, 'expected for each cluster one of 1 classes'),
    ],
)
def test_scores_that_anybody_may_have_written_are_checked(tmp_path, content, message):
    workdir.write_json(workdir.evaluation(tmp_path, 3), content)
    with pytest.raises(ValueError, match=message):
        workdir.load_cluster_classes(tmp_path, 3)


@pytest.mark.parametrize(('channels', 'rescale'), [(5, 1.0), (3, 0.0), (3, 'x')])
def test_prediction_refuses_channels_and_scales_that_cannot_be(tmp_path, run, channels, rescale):
    shutil.copytree(run, tmp_path / 'run')
    workdir.save_data(tmp_path / 'run', channels, rescale if isinstance(rescale, float) else 1.0, ())
    if rescale == 'x':
        data = json.loads((tmp_path / 'run' / 'data.json').read_text())
        (tmp_path / 'run' / 'data.json').write_text(json.dumps(data | {'rescale': 'x'}))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / 'a.png')
    arguments = (f'--workdir={tmp_path / "run"}', f'--input={tmp_path / "a.png"}', f'--output={tmp_path / "out"}')
    audit = audited(tmp_path, '-m', 'ar_seg_jax.predict', *arguments)
    assert audit.done.returncode == 1 and 'data.json: ' in audit.done.stderr and 'Traceback' not in audit.done.stderr


@pytest.mark.parametrize(('pattern', 'message'), [('dataset_info.json', 'is damaged'), ('*.array_record*', 'is damaged')])
def test_damaged_prepared_data_is_named(trained, tmp_path, pattern, message):
    base, _ = trained
    shutil.copytree(base / 'data', tmp_path / 'data')
    for file in (tmp_path / 'data').rglob(pattern):
        content = np.frombuffer(file.read_bytes(), np.uint8).copy()
        used = np.flatnonzero(content)  # records end in zeros up to the end of a block
        content[used[used.size // 3 : used.size // 2]] ^= 0xFF
        file.write_bytes(content)
    config = json.loads((base / 'runs' / 'one' / 'config.json').read_text())
    config['data']['data_dir'] = str(tmp_path / 'data')
    with pytest.raises(DataError, match=message):
        examples = build.data(config, sharding.make_mesh(), may_prepare=False).examples('train')
        [examples[index] for index in range(len(examples))]
