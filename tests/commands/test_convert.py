"""The conversion of torch's files as a user starts it; what single files can hold is in test_torch_files.py."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.support import commands
from tests.support import torch_writer as writer
from tests.support.auditing import audited

REFERENCES = commands.ROOT / 'tests' / 'references'


@pytest.mark.parametrize('kind', ['zip', 'legacy'])
def test_a_file_of_torch_becomes_one_of_safetensors(tmp_path, kind):
    target = tmp_path / 'deeper' / 'weights.safetensors'
    done = commands.run('convert', REFERENCES / f'torch_files_{kind}.pth', target)
    told = f'Left out, since these are no tensors: epoch, name, rates\n22 tensors in {target}\n'
    assert (done.returncode, done.stdout, done.stderr) == (0, '', told)
    found, expected = load_file(target), np.load(REFERENCES / 'torch_files.npz')
    assert found.keys() == set(expected)
    for name, array in found.items():
        np.testing.assert_array_equal(array.astype(expected[name].dtype), expected[name], err_msg=name)


def test_a_file_that_would_run_something_runs_nothing_and_leaves_nothing(tmp_path):
    harmful = writer.call(writer.named('os', 'system'), writer.text(f'touch {tmp_path}/mark'))
    (tmp_path / 'weights.pth').write_bytes(writer.archive(writer.dictionary(a=harmful), {}))
    audit = audited(tmp_path, '-m', 'ar_seg_jax.convert', tmp_path / 'weights.pth', tmp_path / 'out.safetensors')
    assert audit.done.returncode == 1
    assert audit.done.stderr.startswith(f'error: {tmp_path}/weights.pth: it holds os.system, which is no part of plain weights')
    assert not audit.named('os.system', 'subprocess', 'os.exec', 'os.posix_spawn', 'socket', 'pickle.find_class')
    assert not audit.changes_outside(tmp_path / 'nowhere')
    assert not (tmp_path / 'mark').exists() and not (tmp_path / 'out.safetensors').exists()


def test_conversion_writes_its_output_only(tmp_path):
    output = tmp_path / 'output'
    path = REFERENCES / 'torch_files_zip.pth'
    audit = audited(tmp_path, '-m', 'ar_seg_jax.convert', path, output / 'out.safetensors')
    assert audit.done.returncode == 0, audit.done.stderr
    assert audit.named('os.rename') and not audit.changes_outside(output)


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        ([], 2, 'expected the arguments IN.pth OUT.safetensors, found none'),
        (['a.pth'], 2, 'expected the arguments IN.pth OUT.safetensors, found a.pth'),
        (['a', 'b', 'c'], 2, 'expected the arguments IN.pth OUT.safetensors, found a b c'),
        (['a.pth', 'b.npz'], 1, 'b.npz: the file that is written ends in .safetensors'),
        (['/nowhere/a.pth', 'b.safetensors'], 1, '/nowhere/a.pth: no such file'),
    ],
)
def test_a_mistake_is_told_in_a_line(arguments, status, message):
    done = commands.run('convert', *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (status, '', f'error: {message}\n')
