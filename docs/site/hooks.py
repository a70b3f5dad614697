"""What the site shows of files that are no pages of docs/: README.md as its first page, and the notebook.

Both stay what they are where the code is hosted, and nothing is written twice. Links are those of the files: one to README.md
leads to the first page, one to a file outside of docs/ to a copy of it in the site.
"""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
_PAGES = {'README.md': 'index.md', 'docs/notebook.ipynb': 'notebook.md'}  # of the site, by the files that they are made of
_LINK = re.compile(r'\]\((?P<target>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)')


def on_files(files, *, config):
    contents = {'index.md': (ROOT / 'README.md').read_text(), 'notebook.md': _notebook(ROOT / 'docs' / 'notebook.ipynb')}
    for place, content in contents.items():
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown, *, page, config, files):
    place = page.file.src_uri
    source = next((source for source, made in _PAGES.items() if made == place), f'docs/{place}')

    def within(link):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link['target']))
        found = _PAGES.get(target) or (target.removeprefix('docs/') if target.startswith('docs/') else f'repository/{target}')
        if found.startswith('repository/') and files.get_file_from_path(found) is None and (ROOT / target).is_file():
            files.append(File.generated(config, found, abs_src_path=str(ROOT / target)))
        return f']({posixpath.relpath(found, posixpath.dirname(place) or ".")}{link["anchor"] or ""})'

    return _LINK.sub(within, markdown)


def _notebook(path: Path) -> str:
    """Its text, its code, and what that printed and drew."""
    return '\n\n'.join(part for cell in json.loads(path.read_text())['cells'] for part in _parts(cell))


def _parts(cell):
    source = ''.join(cell['source'])
    yield source if cell['cell_type'] == 'markdown' else f'```python\n{source}\n```'
    for output in cell.get('outputs', ()):
        shown = output.get('data', {'text/plain': output.get('text', '')})
        if 'image/png' in shown:
            yield f'![What the lines above draw](data:image/png;base64,{"".join(shown["image/png"]).strip()})'
        else:
            yield f'```\n{"".join(shown["text/plain"]).rstrip()}\n```'
