"""Nothing in the package runs or unpickles what only trusted files may hold."""

import ast
from pathlib import Path

import pytest

import ar_seg_jax

ROOT = Path(ar_seg_jax.__file__).parent
FORBIDDEN = {
    'modules': {'pickle', 'marshal', 'shelve', 'dill', 'cloudpickle', 'joblib', 'yaml', 'ctypes', 'importlib', 'runpy', 'code'},
    'functions': {'eval', 'exec', 'compile', '__import__', 'system', 'popen', 'read_pickle'},
    'keywords': {'allow_pickle', 'shell'},
}
# They run the config that the command line names, which is a program of the user's own, and nothing that a run or data holds.
RUN_CONFIGS = {'cli.py': {'runpy'}, 'config_files.py': {'importlib'}, 'sweep.py': {'importlib', 'runpy'}}
# It reads what torch pickled, for `convert` alone, with a reader that knows names of tensors only (test_torch_files.py).
READ_PICKLES = {'torch_files.py': {'pickle'}}
# It gives the C library one function of ours, for the signal with which JAX aborts.
HANDLE_ABORTS = {'training/peers.py': {'ctypes'}}


def _dangerous(source):
    """Places in a Python program that run or load what only trusted files may hold."""
    for node in ast.walk(ast.parse(source)):
        names, kind = [], 'modules'
        match node:
            case ast.ImportFrom(module='importlib', names=[ast.alias(name='metadata')]):
                pass  # versions of what is installed
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
     'np.load(path, allow_pickle=True)', 'subprocess.run("ls", shell=True)', 'from a import marshal', 'import importlib.util',
     'from importlib import metadata, util', 'from runpy import run_path'],
)  # fmt: skip
def test_the_search_for_dangerous_calls_finds_them(source):
    assert list(_dangerous(source))


@pytest.mark.parametrize('path', sorted(ROOT.rglob('*.py')), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_in_the_package_runs_or_unpickles_files(path):
    allowed = (RUN_CONFIGS | READ_PICKLES | HANDLE_ABORTS).get(path.relative_to(ROOT).as_posix(), set())
    assert not [place for place in _dangerous(path.read_text()) if place[1] not in allowed]
