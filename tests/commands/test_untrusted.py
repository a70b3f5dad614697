"""Files from anywhere: refused with a message, never executed, and nothing is written where it does not belong.

What single parsers refuse is tested beside them: data/test_images.py, data/test_damage.py, prediction/test_network.py.
"""

import dataclasses
import io
import itertools
import os
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.data import images, raster
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.errors import printable
from tests.support.auditing import Audit, audited

RNG = np.random.default_rng(0)


def _state_of(directory, without=()):
    """Size and time of everything below a directory but for some parts of it: also what an audit cannot see."""
    return {
        path: (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in directory.rglob('*')
        if not any(path.is_relative_to(part) for part in without) and not path.is_dir()
    }


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
def damaged(tmp_path_factory, trained):
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
    yield _predict(base, trained.directory, source, base / 'labels')
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
            assert line == printable(str(error)) or raster.needs_parts(path)
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
        ('itself.png', 'cannot be read (Too many levels of symbolic links)'),
        ('device.png', 'not a regular file'),
        ('pipe.png', 'not a regular file'),
        ('postscript.png', 'not an image that Pillow can read; the formats are'),
        ('thin.png', '1 x 80000 pixels exceed the limit'),
        ('hole.webp', f'{2**33} bytes exceed the limit'),
    ],
)
def test_what_is_no_image_is_named_for_what_it_is(damaged, name, message):
    (line,) = damaged.lines(damaged.source / name)
    assert line.startswith(f'{damaged.source / name}: {message}')


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


def test_names_of_inputs_lead_to_different_files_below_the_output(tmp_path, trained):
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
    }
    out_of_it, other = f'leads out of --output {output}; remove that link', 'or what was made for it; rename one of the two'
    refused = {
        'linked/d.png': f'{output}/linked {out_of_it} or choose another directory',
        'deeper/linked/d.png': f'{output}/deeper/linked {out_of_it} or choose another directory',
        'loop/d.png': f'cannot write {output}/loop/d_labels.png (File exists)',
        'file/d.png': f'cannot write {output}/file/d_labels.png (File exists)',
        'taken.png': f'cannot write {output}/taken_labels.png, which is a directory; choose another --output',
        'in/e.png': f'{output}/in/e_labels.png would replace {source}/e_labels.png, {other}',
        'two/f.png': f'{output}/two/f_labels.png would replace {source}/one/f.png, {other}',
        'g_labels.png/g.png': f'cannot write {output}/g_labels.png/g_labels.png (File exists)',
        f'{"n" * 250}.png': f'cannot write {output}/{"n" * 250}_labels.png (File name too long)',
    }
    for name in (*places, *refused):
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
    predicted = _predict(tmp_path, trained.directory, source, output)
    assert predicted.audit.done.returncode == 1 and 'Traceback' not in predicted.audit.done.stderr, predicted.audit.done.stderr
    for name, place in places.items():
        (line,) = predicted.lines(source / name)
        assert line.endswith('%'), line
        made = output / f'{place}_labels.png'
        assert made.is_file() and not made.is_symlink() and Image.open(made).mode == 'P'
    for name, message in refused.items():
        assert predicted.lines(source / name) == [f'{source / name}: {message}']
    assert (outside / 'secret').read_text() == 'as it was' and list(outside.iterdir()) == [outside / 'secret']
    assert {path: path.read_bytes() for path in inputs} == inputs and predicted.unchanged
    assert not predicted.audit.changes_outside(output)


def test_a_single_input_whose_name_is_dots_stays_in_the_output(tmp_path, trained):
    source = tmp_path / '..png'
    Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(source, 'PNG')
    predicted = _predict(tmp_path, trained.directory, source, tmp_path / 'output')
    assert predicted.audit.done.returncode == 0, predicted.audit.done.stderr
    assert not predicted.audit.changes_outside(tmp_path / 'output') and predicted.unchanged
    assert {path.name for path in (tmp_path / 'output').iterdir()} == {'classes.json', '._labels.png', '._overlay.png'}


def test_training_unpickles_nothing_and_writes_to_its_directories_only(trained):
    # TensorBoard's events, and the bare object that ends them, travel pickled between threads, and through no file.
    own = ('tensorboardX.proto.event_pb2', 'Event'), ('builtins', 'object')
    unpickled = [event for event in trained.audit.named('pickle') if tuple(event[1:]) not in own]
    assert not unpickled and not trained.audit.named('os.system', 'socket')
    allowed = (trained.directory, trained.programs, trained.data_dir, trained.base / 'tmp')
    assert not trained.audit.changes_outside(*allowed)
