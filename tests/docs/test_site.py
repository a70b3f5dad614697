"""docs/ as a site: it is built without a complaint, has all pages, and needs no network to be read."""

import html.parser
import os
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from tests.support import documents
from tests.support.commands import ROOT

DOCS = ROOT / 'docs'
_LOADED = {'img': 'src', 'script': 'src', 'link': 'href', 'iframe': 'src', 'source': 'src'}


class Read(html.parser.HTMLParser):
    """What a page loads, where it leads to, and its text."""

    def __init__(self, path):
        super().__init__()
        self.loaded, self.links, self.text = [], [], ''
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if found.get(_LOADED.get(tag, '')):
            self.loaded.append(found[_LOADED[tag]])
        if tag == 'a' and found.get('href'):
            self.links.append(found['href'])

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The command of README.md, but for where it writes."""
    pytest.importorskip('mkdocs', reason='mkdocs is not installed; tests/requirements.txt has it')
    place = tmp_path_factory.mktemp('site')
    options = ('--strict', '--config-file', 'docs/site/mkdocs.yml', '--site-dir', place)
    nowhere = {'http_proxy': 'http://localhost:9', 'https_proxy': 'http://localhost:9'}
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', *options],
        cwd=ROOT, env=os.environ | nowhere, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope='module')
def pages(site):
    return {path: Read(path) for path in site.rglob('*.html')}


def test_every_page_is_there_and_begins_with_its_title(site):
    for page in documents.PAGES:
        path = site / 'index.html' if page.name == 'README.md' else site / page.relative_to(DOCS).with_suffix('.html')
        title = next(line for line in page.read_text().splitlines() if line.startswith('# ')).removeprefix('# ')
        assert title in path.read_text(), path


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for path, page in pages.items():
        assert page.loaded, path
        for loaded in page.loaded:
            parts = urlsplit(loaded)
            assert parts.scheme in ('', 'data') and not parts.netloc, (path, loaded)
            if parts.path and not parts.scheme:
                assert _target(site, path, parts.path).is_file(), (path, loaded)
    for path in site.rglob('*.css'):
        assert 'url(http' not in path.read_text() and '@import' not in path.read_text(), path


def test_links_lead_to_files_of_the_site(site, pages):
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.path and not parts.scheme:
                assert _target(site, path, parts.path).exists(), (path, link)


def test_the_first_page_is_the_readme_and_the_notebook_has_its_pictures(site, pages):
    first = pages[site / 'index.html']
    assert 'Unsupervised image segmentation in JAX and Flax' in first.text
    assert {'own_images.html', 'methods/index.html', 'repository/LICENSE'} <= set(first.links)
    assert sum(loaded.startswith('data:image/png;base64,') for loaded in pages[site / 'notebook.html'].loaded) >= 2


def _target(site, path, link):
    return site / link.lstrip('/') if link.startswith('/') else path.parent / link
