"""The pages of docs/methods/: one for every method, with its configs."""

import importlib
import re

from ar_seg_jax import build
from tests.support.commands import ROOT

PAGES = {path.stem: path.read_text() for path in (ROOT / 'docs' / 'methods').glob('*.md') if path.stem != 'index'}
CONFIGS = {path.stem for path in (ROOT / 'configs').glob('*.py')} - {'__init__', 'common'}


def _configs(page):
    """Those that the paragraph about configs names; a name that begins with `_` takes the place of the end of the one before."""
    names, before = set(), ''
    for name in re.findall(r'`([\w*]+)`', re.search(r'\*\*Configs\.\*\*.*?(?=\n\n|\Z)', page, re.DOTALL)[0]):
        if name.startswith('*'):  # of those before it
            names |= {f'{other}{name[1:]}' for other in names if f'{other}{name[1:]}' in CONFIGS}
        else:
            before = before if name.startswith('_') else name
            names.add(f'{before}{name}' if name.startswith('_') else name)
    return names


def test_every_method_has_a_page_and_the_list_of_them_leads_to_all():
    index = (ROOT / 'docs' / 'methods' / 'index.md').read_text()
    assert PAGES.keys() == build.METHODS.keys() | {'baselines'}
    assert all(f'({name}.md)' in index for name in PAGES)


def test_pages_name_the_configs_of_their_method_and_every_config_is_on_one():
    named = {name: _configs(page) for name, page in PAGES.items() if '**Configs.**' in page}
    for name, configs in named.items():
        for config in configs:
            assert importlib.import_module(f'configs.{config}').get_config().method.name == name, config
    assert set().union(*named.values()) == CONFIGS


def test_pages_have_the_same_parts():
    for name, page in PAGES.items():
        parts = re.findall(r'^\*\*(.+?)\*\*', page, re.MULTILINE)
        wanted = ['Source.', 'What it is for.' if name == 'mixture' else 'What differs here.', 'Try it.', 'What to expect.']
        assert parts == wanted + (['Configs.'] if name != 'baselines' else []), name
