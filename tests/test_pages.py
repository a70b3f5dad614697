"""What README.md and the pages of docs/ say of the program's files and configs."""

import re

import pytest

from ar_seg_jax import build
from configs import common
from tests.support.commands import ROOT

PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
OF_A_READER = re.compile(r'```python.*?```', re.DOTALL)  # files that the page shows how to write
NAMED = re.compile(r'\b(?:ar_seg_jax|benchmarks|configs|docs|launch|tests)/[\w/]+\.(?:csv|json|md|png|py|sh)\b')


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    named = set(NAMED.findall(OF_A_READER.sub('', page.read_text())))
    assert not [name for name in named if not (ROOT / name).exists()]


def test_another_optimiser_is_chosen_as_the_readme_says():
    config = common.get_config()
    before = config.to_dict()['optimizer']
    (lines,) = re.findall(r'(?:^    config\.optimizer.*\n)+', (ROOT / 'README.md').read_text(), re.MULTILINE)
    exec('\n'.join(line.strip() for line in lines.splitlines()), {'common': common, 'config': config})
    found = config.to_dict()
    assert found['optimizer']['name'] == 'adamw' and found['optimizer']['schedule'] == {'name': 'cosine', 'final': 0.1}
    assert found['optimizer']['rates'] == {'stem': 0.5} and before['schedule'] == {'name': 'constant'}
    build.transformation(found, build.method(found), steps=10)
