"""Who may import whom: arrows point down only, and heavy packages stay where they belong."""

import ast
import graphlib
import tomllib
from pathlib import Path

import pytest

import ar_seg_jax

ROOT = Path(ar_seg_jax.__file__).parent
# What each part may import of the package besides itself; a name covers everything below it.
ALLOWED = {
    'errors': set(),
    'epochs': {'errors'},
    'interfaces': {'epochs', 'errors'},
    'processes': {'errors'},
    'configuration': {'errors'},
    'config_files': {'configuration', 'errors', 'files'},
    'files': {'errors'},
    'torch_files': {'errors'},
    'orderings': {'errors'},
    'winograd': set(),
    'sharding': {'errors', 'interfaces'},
    'parallel': {'sharding'},
    'layers': {'errors', 'orderings', 'parallel', 'winograd'},
    'attention': {'errors', 'layers', 'orderings'},
    'objectives': {'errors', 'interfaces', 'parallel'},
    'augmentations': {'errors', 'interfaces', 'orderings', 'parallel'},
    'models': {'attention', 'errors', 'interfaces', 'layers', 'orderings', 'parallel'},
    'methods': {
        'augmentations', 'epochs', 'errors', 'interfaces', 'layers', 'models', 'objectives', 'orderings', 'parallel',
    },
    'data': {'epochs', 'errors', 'files', 'interfaces', 'processes', 'sharding'},
    'drawing': {'attention', 'data', 'errors', 'interfaces', 'layers', 'orderings'},
    'evaluation': {'data', 'drawing', 'errors', 'interfaces', 'layers', 'objectives', 'sharding'},
    'training': {'configuration', 'epochs', 'errors', 'files', 'interfaces', 'parallel', 'processes', 'sharding'},
    'build': {'configuration', 'errors', 'interfaces', 'methods', 'models', 'training'},
    'runs': {
        'build', 'configuration', 'data', 'drawing', 'errors', 'evaluation', 'files', 'interfaces', 'processes', 'sharding',
        'training',
    },
    'prediction': {
        'build', 'configuration', 'data', 'errors', 'evaluation', 'files', 'interfaces', 'runs', 'sharding', 'training',
    },
    'exporting': {'data', 'errors', 'interfaces', 'layers', 'prediction', 'training'},
    'sweeping': {'configuration', 'drawing', 'errors', 'processes', 'evaluation', 'files', 'runs', 'training'},
    'reporting': {'build', 'data', 'drawing', 'errors', 'evaluation', 'files', 'interfaces', 'runs', 'sharding', 'training'},
    'choosing': {'configuration', 'data', 'errors', 'evaluation', 'files', 'interfaces', 'prediction', 'runs', 'sharding'},
    'cli': {'config_files', 'configuration', 'errors', 'files', 'processes', 'training'},
    'main': {'build', 'cli', 'processes', 'reporting', 'runs', 'training'},
    'evaluate': {'cli', 'errors', 'evaluation', 'files', 'prediction', 'runs'},
    'score': {'cli', 'data', 'evaluation', 'files'},
    'report': {'cli', 'errors', 'files', 'reporting', 'runs'},
    'predict': {'cli', 'data', 'drawing', 'errors', 'files', 'interfaces', 'prediction'},
    'export': {'cli', 'errors', 'exporting', 'files', 'prediction', 'runs'},
    'select': {'choosing', 'cli', 'errors', 'files'},
    'explore': {'choosing', 'cli', 'config_files', 'configuration', 'errors', 'files', 'processes', 'reporting', 'runs'},
    'merge': {'choosing', 'cli', 'errors', 'files', 'runs'},
    'sweep': {'cli', 'errors', 'files', 'processes', 'runs', 'sweeping'},
    'figures': {'cli', 'data', 'drawing', 'errors', 'files', 'prediction'},
    'doctor': {'cli', 'errors', 'runs'},
    'convert': {'cli', 'errors', 'files', 'torch_files'},
    'clean': {'cli', 'data', 'errors', 'files', 'runs'},
    '__init__': {'prediction'},
}  # fmt: skip
COMMANDS = (
    'main', 'evaluate', 'score', 'predict', 'report', 'export', 'sweep', 'select', 'merge', 'explore', 'figures', 'convert',
    'clean', 'doctor',
)  # fmt: skip
# Whose import takes long; --help and wrong flags should not wait for it.
HEAVY = {'jax', 'flax', 'grain', 'matplotlib', 'optax', 'orbax', 'tensorflow_datasets'}

# Who reads a config; all others get their options as arguments.
READERS = {'build', 'choosing', 'configuration', 'prediction', 'reporting', 'runs', 'sweeping', *COMMANDS}


def _imports(nodes):
    """Modules that are imported, those of the package with what is taken of them: 'ar_seg_jax.data.classes'."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f'line {node.lineno}: imports are absolute, so that they can be compared'
            of_us = node.module.partition('.')[0] == 'ar_seg_jax'
            yield from ([f'{node.module}.{alias.name}' for alias in node.names] if of_us else [node.module])
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize('line', ['from ..runs import x', 'from . import x', 'from .x import y'])
def test_a_relative_import_is_refused(line):
    with pytest.raises(AssertionError, match='imports are absolute'):
        list(_imports(ast.parse(line).body))


def _part(path):
    return path.relative_to(ROOT).parts[0].removesuffix('.py')


@pytest.mark.parametrize('path', sorted(ROOT.rglob('*.py')), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    part = _part(path)
    for name in _imports(ast.walk(ast.parse(path.read_text()))):
        package, _, rest = name.partition('.')
        if package == 'ar_seg_jax' and rest:
            assert rest.split('.')[0] in ALLOWED[part] | {part}, f'{part} must not import {name}'
        if part == 'objectives':
            assert package not in ('flax', 'optax')
        if part == 'sweeping':
            assert package not in ('jax', 'flax')  # the runs need the devices


@pytest.mark.parametrize('path', sorted(ROOT.rglob('*.py')), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_config_is_read_where_docs_contributing_says(path):
    """By its keys: `config[...]` or `config.get`."""
    nodes = ast.walk(ast.parse(path.read_text()))
    owners = [node.value for node in nodes if isinstance(node, ast.Subscript) or getattr(node, 'attr', None) == 'get']
    read = any(isinstance(owner, ast.Name) and owner.id == 'config' for owner in owners)
    assert not read or _part(path) in READERS


def test_the_parts_can_be_put_in_an_order_and_all_of_them_exist():
    tuple(graphlib.TopologicalSorter(ALLOWED).static_order())  # CycleError otherwise
    assert set(ALLOWED) == {_part(path) for path in ROOT.rglob('*.py')}


def test_inside_a_part_there_are_no_circles_either():
    graph = {}
    for path in ROOT.rglob('*.py'):
        module = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
        names = [name.removeprefix('ar_seg_jax.') for name in _imports(ast.walk(ast.parse(path.read_text())))]
        graph[module] = {other for name in names for other in (name, name.rpartition('.')[0])}
    modules = set(graph)
    tuple(graphlib.TopologicalSorter({module: names & modules - {module} for module, names in graph.items()}).static_order())


@pytest.mark.parametrize('command', COMMANDS)
def test_commands_import_nothing_heavy_before_their_flags_are_parsed(command):
    """Follows the imports at the top of modules of the package."""
    seen, ahead = set(), [command, '__init__']
    while ahead:
        module = ahead.pop()
        path = ROOT / f'{module.replace(".", "/")}.py'
        if module in seen or not path.exists():
            continue
        seen.add(module)
        for name in _imports(ast.parse(path.read_text()).body):
            assert name.partition('.')[0] not in HEAVY, f'{module} imports {name}'
            if name.startswith('ar_seg_jax.'):
                inside = name.removeprefix('ar_seg_jax.')
                ahead += [inside, inside.rpartition('.')[0]]


def test_the_wheel_has_every_package():
    listed = set(tomllib.loads((ROOT.parent / 'pyproject.toml').read_text())['tool']['setuptools']['packages'])
    found = {'.'.join(path.parent.relative_to(ROOT.parent).parts) for path in ROOT.rglob('__init__.py')}
    assert listed == found | {'ar_seg_jax.configs'}


def test_the_wheel_has_every_file_that_is_no_program():
    patterns = tomllib.loads((ROOT.parent / 'pyproject.toml').read_text())['tool']['setuptools']['package-data']['ar_seg_jax']
    for path in ROOT.rglob('*.*'):
        assert path.suffix in ('.py', '.pyc') or any(path.relative_to(ROOT).match(pattern) for pattern in patterns), path
