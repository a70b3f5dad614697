"""Who may import whom: arrows point down only, and heavy packages stay where they belong."""

import ast
from pathlib import Path

import pytest

import ar_seg_jax

ROOT = Path(ar_seg_jax.__file__).parent
# What each part may import of the package; a name covers everything below it.
ALLOWED = {
    'interfaces': set(),
    'classes': {'interfaces'},
    'text': set(),
    'orderings': set(),
    'ahead': set(),
    'tiling': set(),
    'differences': set(),
    'files': set(),
    'records': set(),
    'processes': set(),
    'cli': {'processes', 'text', 'training'},
    'workdir': {'classes', 'differences', 'files'},
    'transformations': {'orderings'},
    'clustering': set(),
    'layers': {'orderings'},
    'models': {'models', 'layers', 'orderings'},
    'objectives': {'objectives'},
    'methods': {'methods', 'clustering', 'interfaces', 'layers', 'objectives', 'orderings', 'transformations'},
    'data': {'data', 'classes', 'interfaces'},
    'evaluation': {'evaluation', 'classes', 'clustering', 'interfaces', 'layers', 'orderings'},
    'training': {'training', 'interfaces', 'differences', 'files', 'records'},
    'sweeping': {'sweeping', 'files', 'records', 'text', 'workdir'},
}
TOP = {'main', 'evaluate', 'predict', 'figures', 'sweep', 'run', 'results', 'illustrations', 'build', 'network', '__init__'}


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ([f'{node.module}.{alias.name}' for alias in node.names] if node.module == 'ar_seg_jax' else [node.module])
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize('path', sorted(ROOT.rglob('*.py')), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    part = path.relative_to(ROOT).parts[0].removesuffix('.py')
    if part in TOP:
        return
    for name in _imports(path):
        package, _, rest = name.partition('.')
        if package == 'ar_seg_jax':
            assert rest.split('.')[0] in ALLOWED[part], f'{part} must not import {name}'
        if part == 'objectives':
            assert package not in ('flax', 'optax')
        if part == 'sweeping':
            assert package not in ('jax', 'flax')  # the runs need the devices


@pytest.mark.parametrize('command', ['main', 'evaluate', 'predict', 'figures', 'sweep'])
def test_commands_import_nothing_heavy_before_their_flags_are_parsed(command):
    tree = ast.parse((ROOT / f'{command}.py').read_text())
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, 'module', None), *(alias.name for alias in node.names)]
            assert not {
                'jax',
                'flax',
                'grain',
                'matplotlib',
                'tensorflow_datasets',
                'run',
                'results',
                'build',
                'evaluation',
            } & set(names)
