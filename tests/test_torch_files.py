"""Files of torch.save: what torch wrote is read as it is, and nothing else is, whatever a pickle says."""

import importlib
import pickle
import random
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ar_seg_jax import torch_files
from ar_seg_jax.errors import UserError
from tests.support import torch_writer as writer
from tests.support.commands import ROOT

REFERENCES = ROOT / 'tests' / 'references'
NUMBERS = np.arange(6, dtype='<f4')
STORAGE = writer.storage('0', 6)
ADVICE = r'save the weights alone, with torch\.save\(model\.state_dict\(\), \.\.\.\), or take a \.safetensors file$'


def read(tmp_path, data: bytes):
    path = tmp_path / 'weights.pth'
    path.write_bytes(data)
    return torch_files.read(path)


def both(content: bytes, numbers=NUMBERS):
    """The content as files of both formats, with one storage."""
    data = numbers.tobytes()
    older = content.replace(STORAGE, writer.storage('0', 6, 'FloatStorage', writer.NONE))
    return {'zip': writer.archive(content, {'0': data}), 'legacy': writer.legacy(older, {'0': (len(numbers), data)})}


@pytest.mark.parametrize('name', ['zip', 'legacy'])
def test_what_torch_saved_is_read(name):
    """Files that torch 2.13 wrote: every type, views that are transposed or cut out, a state dictionary below others."""
    found = torch_files.read(REFERENCES / f'torch_files_{name}.pth')
    expected = np.load(REFERENCES / 'torch_files.npz')
    assert found.arrays.keys() == set(expected) and found.others == ['epoch', 'name', 'rates']
    for name, array in found.arrays.items():
        own = name.removeprefix('plain.')
        assert str(array.dtype) == ('bfloat16' if own == 'bfloat16' else str(expected[name].dtype))
        assert array.flags.c_contiguous and array.flags.owndata
        np.testing.assert_array_equal(array.astype(expected[name].dtype), expected[name], err_msg=name)


def test_what_the_torch_that_is_installed_saves_is_read(tmp_path):
    torch = pytest.importorskip('torch', reason='torch, which only makes references, is not installed')
    reference = importlib.import_module('tests.references.torch_files')
    for zipped in (True, False):
        torch.save(reference.checkpoint(), tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped)
        found = torch_files.read(tmp_path / 'a.pth').arrays
        for name, array in reference.expected().items():
            np.testing.assert_array_equal(found[name].astype(array.dtype), array, err_msg=name)


@pytest.mark.parametrize('kind', ['zip', 'legacy'])
@pytest.mark.parametrize(
    ('shape', 'strides', 'offset', 'expected'),
    [
        ((2, 3), (3, 1), 0, NUMBERS.reshape(2, 3)),
        ((3, 2), (1, 3), 0, NUMBERS.reshape(2, 3).T),
        ((2,), (3,), 2, NUMBERS[2::3]),
        ((), (), 5, np.float32(5)),
        ((0, 4), (4, 1), 0, np.zeros((0, 4))),
        ((2, 2), (0, 1), 4, np.stack([NUMBERS[4:], NUMBERS[4:]])),
    ],
)
def test_views_of_a_storage_are_copied(tmp_path, kind, shape, strides, offset, expected):
    data = both(writer.dictionary(a=writer.tensor(STORAGE, shape, strides, offset)))[kind]
    np.testing.assert_array_equal(read(tmp_path, data).arrays['a'], expected)


@pytest.mark.parametrize('kind', ['zip', 'legacy'])
@pytest.mark.parametrize(
    ('shape', 'strides', 'offset'),
    [
        ((7,), (1,), 0),
        ((2, 3), (4, 1), 0),
        ((1,), (1,), 6),
        ((2,), (2**62,), 0),
        ((2**40,), (0,), 0),
        ((2**63, 2**63), (0, 0), 0),
    ],
)
def test_a_view_that_leaves_its_storage_is_refused(tmp_path, kind, shape, strides, offset):
    data = both(writer.dictionary(a=writer.tensor(STORAGE, shape, strides, offset)))[kind]
    message = rf"weights\.pth: a tensor of shape {re.escape(str(shape))} does not lie within its storage '0'; {ADVICE}"
    with pytest.raises(UserError, match=message):
        read(tmp_path, data)


@pytest.mark.parametrize('kind', ['zip', 'legacy'])
@pytest.mark.parametrize(
    'tensor',
    [
        writer.tensor(STORAGE, (2,), (-1,), 3),
        writer.tensor(STORAGE, (-2,), (1,)),
        writer.tensor(STORAGE, (2,), (1,), -1),
        writer.tensor(writer.text('storage'), (2,), (1,)),
        writer.tensor(STORAGE, (2,), (1,)).replace(writer.sequence(writer.number(1)), writer.text('x')),
    ],
)
def test_a_tensor_of_another_form_is_refused(tmp_path, kind, tensor):
    with pytest.raises(UserError, match=rf'weights\.pth: a tensor of an unknown form; {ADVICE}'):
        read(tmp_path, both(writer.dictionary(a=tensor))[kind])


HARMFUL = {
    'os.system': writer.call(writer.named('os', 'system'), writer.text('touch mark')),
    'posix.system': writer.call(writer.named('posix', 'system'), writer.text('touch mark')),
    'builtins.eval': writer.call(writer.named('builtins', 'eval'), writer.text("open('mark', 'w')")),
    'builtins.getattr': writer.call(writer.named('builtins', 'getattr'), writer.NONE, writer.text('__class__')),
    'torch.load': writer.call(writer.named('torch', 'load'), writer.text('mark')),
    'torch._utils._rebuild_qtensor': writer.call(writer.named('torch._utils', '_rebuild_qtensor')),
    'numpy._core.multiarray.scalar': writer.call(writer.named('numpy._core.multiarray', 'scalar')),
    'argparse.Namespace': writer.call(writer.named('argparse', 'Namespace')),
    'collections.OrderedDict.__init__': writer.text('collections') + writer.text('OrderedDict.__init__') + b'\x93',
}


@pytest.mark.parametrize('kind', ['zip', 'legacy'])
@pytest.mark.parametrize('name', HARMFUL)
def test_other_names_end_the_reading_before_anything_is_called(tmp_path, monkeypatch, kind, name):
    monkeypatch.chdir(tmp_path)
    content = writer.dictionary(a=writer.tensor(STORAGE, (6,), (1,)), b=HARMFUL[name])
    message = rf'it holds {re.escape(name)}, which is no part of plain weights and is not run; {ADVICE}'
    with pytest.raises(UserError, match=message):
        read(tmp_path, both(content)[kind])
    assert not Path('mark').exists()


@pytest.mark.parametrize('name', ['os.system', 'posix.system', 'builtins.eval'])
def test_python_s_own_reader_would_have_called_them(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    pickle.loads(writer.program(HARMFUL[name]))
    assert Path('mark').exists()


def test_a_namespace_that_torch_saved_beside_weights_is_refused():
    with pytest.raises(UserError, match=rf'it holds argparse\.Namespace, which is no part of plain weights .*; {ADVICE}'):
        torch_files.read(REFERENCES / 'torch_files_namespace.pth')


PLAIN = writer.dictionary(a=writer.tensor(STORAGE, (6,), (1,)))
DATA = NUMBERS.tobytes()


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'neither of the formats of torch.save'),
        (writer.program(PLAIN), 'neither of the formats of torch.save'),
        (writer.archive(PLAIN, {'0': DATA[:-1]}), "the storage '0' has 23 bytes, expected 24; fetch it again"),
        (writer.archive(PLAIN, {'0': DATA + b'0'}), "the storage '0' has 25 bytes, expected 24; fetch it again"),
        (writer.archive(PLAIN, {'1': DATA}), 'cannot be read (KeyError: '),
        (
            writer.archive(PLAIN, {'0': DATA}, zipfile.ZIP_DEFLATED),
            'an archive with compressed entries, which torch.save',
        ),
        (writer.archive(PLAIN, {'0': DATA}, **{'deep/data.pkl': b''})[:-3], 'cannot be read (BadZipFile: '),
        (
            writer.archive(PLAIN, {'0': DATA}, byteorder=b'big'),
            'the bytes of its numbers are not in the order little',
        ),
        (
            writer.legacy(PLAIN, {'0': (6, DATA)}, writer.FALSE),
            'the bytes of its numbers are not in the order little',
        ),
        (writer.legacy(PLAIN, {'0': (6, DATA)}, protocol=1002), 'an unknown version of the older format of torch.save'),
        (writer.legacy(PLAIN, {'0': (6, DATA[:-1])}), "the storage '0' has 23 bytes, expected 24; fetch it again"),
        (writer.legacy(PLAIN, {'0': (5, DATA)}), "the storage '0' has 5 elements instead of 6; fetch it again"),
        (writer.legacy(PLAIN, {}), 'the storages that it has are not those of its tensors; fetch it again'),
        (writer.archive(writer.text('a'), {}), 'no tensors in dictionaries; save the weights alone'),
        (writer.archive(b'q\x05' + PLAIN, {}), 'a pickle that no program of torch has written; save the weights alone'),
        (
            writer.archive(writer.NONE + b'r\xff\xff\xff\x7f' + PLAIN, {}),
            'a pickle that no program of torch has written; save the weights alone',
        ),
        (
            writer.archive(
                writer.dictionary(a=writer.tensor(writer.storage('0', 6, 'FloatStorage', writer.TRUE), (6,), (1,))), {}
            ),
            'a storage of an unknown form; save the weights alone',
        ),
        (
            writer.archive(writer.dictionary(a=writer.storage('0', -6)), {}),
            "the storage '0' is not what it can be",
        ),
        (
            writer.archive(writer.dictionary(a=STORAGE, b=writer.storage('0', 3, 'DoubleStorage')), {}),
            "the storage '0' is not what it can be",
        ),
    ],
)
def test_what_is_damaged_is_named(tmp_path, data, message):
    with pytest.raises(UserError, match=re.escape(f'weights.pth: {message}')):
        read(tmp_path, data)


def test_two_names_that_become_one_are_refused(tmp_path):
    tensor = writer.tensor(STORAGE, (6,), (1,))
    content = writer.dictionary(**{'a.b': tensor, 'a': writer.dictionary(b=tensor)})
    with pytest.raises(UserError, match=r"two tensors are called 'a\.b'; "):
        read(tmp_path, both(content)['zip'])


def test_small_files_that_would_become_large_are_refused(tmp_path):
    """A dictionary that holds itself, dictionaries that hold another one twice, and many names for one storage."""
    tensor = writer.tensor(STORAGE, (6,), (1,))
    itself = b'}q\x00(' + writer.text('a') + b'h\x00u'
    with pytest.raises(UserError, match=rf'dictionaries in dictionaries, more than 20 of them; {ADVICE}'):
        read(tmp_path, both(itself)['zip'])
    doubled = writer.dictionary(a=tensor) + b'q\x00'
    for level in range(18):
        inner = b'h' + bytes([level])
        doubled += b'0' + writer.dictionary(a=inner, b=inner) + b'q' + bytes([level + 1])
    large = np.zeros(6, '<f4')
    with pytest.raises(UserError, match=rf'share storages so often that they would take far more than the file; {ADVICE}'):
        read(tmp_path, both(doubled, large)['zip'])


def test_a_storage_may_be_that_of_two_tensors(tmp_path):
    """As that of weights that are tied."""
    content = writer.dictionary(a=writer.tensor(STORAGE, (6,), (1,)), b=writer.tensor(STORAGE, (2, 3), (3, 1)))
    found = read(tmp_path, both(content)['zip']).arrays
    np.testing.assert_array_equal(found['a'], found['b'].ravel())


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / 'missing.pth', tmp_path):
        with pytest.raises(UserError, match=rf'^{path}: no such file$'):
            torch_files.read(path)


@pytest.mark.parametrize('name', ['zip', 'legacy'])
def test_a_damaged_file_gives_an_error_for_users_or_arrays(tmp_path, name):
    """400 files with flipped bits, cut off, or with noise at the end."""
    whole = Path(REFERENCES / f'torch_files_{name}.pth').read_bytes()
    chance, read_well = random.Random(0), 0
    for number in range(400):
        data = bytearray(whole)
        if number % 4 == 3:
            data = data[: chance.randrange(len(data))]
        else:
            for _ in range(chance.choice((1, 3, 20))):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            found = read(tmp_path, bytes(data))
        except UserError as error:
            assert str(error).startswith(str(tmp_path / 'weights.pth: ')[:-1])
        else:
            read_well += 1
            assert sum(array.nbytes for array in found.arrays.values()) <= 2 * len(data)
    assert 0 < read_well < 400
