"""docs/python.md and docs/notebook.ipynb run as they stand, on a run of a few steps; the list of functions is the program's."""

import inspect
import json
import re

import matplotlib
import numpy as np
import pytest

import ar_seg_jax
from ar_seg_jax.prediction.network import Network, load
from tests.support import documents
from tests.support.commands import ROOT

PAGE = ROOT / 'docs' / 'python.md'
NOTEBOOK = ROOT / 'docs' / 'notebook.ipynb'


@pytest.mark.usefixtures('as_users_have_it')
def test_the_python_of_the_page_runs_as_it_stands(trained, monkeypatch):
    pytest.importorskip('xarray', reason='xarray is not installed; tests/requirements.txt has it')
    monkeypatch.setattr(ar_seg_jax, 'load', lambda directory: {'runs/mine': load(trained.directory)}[directory], raising=False)
    names, found = {}, []
    for code in documents.python(PAGE):
        if 'no test runs this' not in code:
            exec(code, names)
            found.append(names.get('labels'))
    array, image, raster = found[1:]
    assert array.shape == (2, 60, 80) and array.dtype == np.uint8
    np.testing.assert_array_equal(image, array[0])
    np.testing.assert_array_equal(raster, array[0])
    assert raster.dims == ('y', 'x') and names['scores'].dims == ('y', 'x', 'cluster') and names['features'].ndim == 3
    np.testing.assert_array_equal(raster.x, 300 + 10 * np.arange(80))
    assert [entry.name for entry in names['network'].classes] == ['brick', 'grass', 'gravel']


def test_the_page_lists_what_there_is_in_the_words_of_the_program():
    entries = re.findall(r'^- `([\w.]+)(?:\(([\w, ]+)\))?`: (.*?)(?=\n- |\n\n)', PAGE.read_text(), re.DOTALL | re.MULTILINE)
    listed = {place: (arguments.split(', '), ' '.join(words.split())) for place, arguments, words in entries}
    functions = {'ar_seg_jax.load': load} | {
        f'network.{name}': getattr(Network, name) for name in ('segment', 'scores', 'features', 'objects', 'clusters')
    }
    for place, function in functions.items():
        arguments, words = listed[place]
        assert arguments == [name for name in inspect.signature(function).parameters if name != 'self']
        assert words.startswith(_first_paragraph(function))
    assert listed['network.finds_objects'][1] == _first_paragraph(Network.finds_objects)


def _first_paragraph(function):
    return ' '.join(inspect.getdoc(function).split('\n\n')[0].split())


def _cells(kind):
    return [cell for cell in json.loads(NOTEBOOK.read_text())['cells'] if cell['cell_type'] == kind]


@pytest.mark.usefixtures('as_users_have_it')
def test_the_code_of_the_notebook_runs_on_another_run(trained, capsys):
    first, *others = (''.join(cell['source']) for cell in _cells('code'))
    assert re.fullmatch(r"WORKDIR = '[\w./]+'", first)
    matplotlib.use('agg')
    names = {'WORKDIR': str(trained.directory)}
    for code in others:
        exec(code, names)
    matplotlib.pyplot.close('all')
    assert names['labels'].shape == names['truth'].shape == names['scores'].shape[:2]
    assert 'AC after 6 steps' in capsys.readouterr().out


def test_the_notebook_has_what_its_code_printed_and_drew_and_is_small():
    assert NOTEBOOK.stat().st_size < 200_000
    cells = _cells('code')
    assert [cell['execution_count'] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell['outputs']]
    assert sum('image/png' in output.get('data', {}) for output in outputs) >= 2
    text = ' '.join(''.join(output.get('text', ())) for output in outputs)
    assert 'AC after 300 steps' in text and '/' not in text.replace('/s', '')  # no path of the machine that ran it
    assert {output['output_type'] for output in outputs} <= {'stream', 'display_data'}
