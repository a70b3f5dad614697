"""HTML as a tree of elements, in which every text and attribute is escaped when it is written."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ar_seg_jax.errors import printable
from ar_seg_jax.reporting.account import Picture

Child = Element | str | None
NOTHING = '-'  # where there is no number

_FILES = Path(__file__).parent
# Nothing is loaded, and nothing runs or is styled but what the page came with.
_POLICY = "default-src 'none'; img-src data:; style-src '{style}'; script-src '{script}'; base-uri 'none'; form-action 'none'"


def element(tag: str, *children: Child, **attributes: object) -> Element:
    """An element; None among the children, and as the value of an attribute, is left out.

    Attributes are written with - for _, and a last _ is left out: `class_`, `aria_label`.
    """
    named = {name.rstrip('_').replace('_', '-'): _shown(str(value)) for name, value in attributes.items() if value is not None}
    made = Element(tag, named)
    for child in children:
        if isinstance(child, str):
            _append_text(made, _shown(child))
        elif child is not None:
            made.append(child)
    return made


def _shown(text: str) -> str:
    """Without control characters, and without those that change the direction of what follows."""
    return text if text.isprintable() else printable(text)


def _append_text(parent: Element, text: str):
    if len(parent):
        parent[-1].tail = (parent[-1].tail or '') + text
    else:
        parent.text = (parent.text or '') + text


def section(level: int, title: str, *children: Child, id_: str) -> Element:
    """A section with a heading of this level, which names it for a screen reader."""
    heading = element(f'h{level}', title, id=f'{id_}-title')
    return element('section', heading, *children, id=id_, aria_labelledby=f'{id_}-title')


def table(
    caption: str, columns: Sequence[Child], rows: Iterable[tuple[Child, Sequence[Child]]], class_: str | None = None
) -> Element:
    """A table whose first column names its rows; columns: headings, that of the first column too."""
    head = element('tr', *(element('th', column, scope='col') for column in columns))
    body = [element('tr', element('th', name, scope='row'), *(element('td', cell) for cell in cells)) for name, cells in rows]
    found = element('table', element('caption', caption), element('thead', head), element('tbody', *body), class_=class_)
    return element('div', found, class_='wide', tabindex='0', role='region', aria_label=caption)


def image(picture: Picture, class_: str | None = None) -> Element:
    source = f'data:image/{picture.kind};base64,{base64.b64encode(picture.content).decode()}'
    return element('img', src=source, alt=picture.words, width=picture.width, height=picture.height, class_=class_)


def number(value: int | float, digits: int = 3) -> str:
    """With so many digits behind the point; a dash for NaN."""
    return NOTHING if value != value else f'{value:.{digits}f}'


def page(title: str, body: Element) -> bytes:
    """A whole page, with its style and its script."""
    style, script = ((_FILES / name).read_text('utf-8') for name in ('page.css', 'page.js'))
    policy = _POLICY.format(style=_digest(style), script=_digest(script))
    written = ElementTree.tostring(body, encoding='unicode', method='html')
    heading = ElementTree.tostring(element('title', title), encoding='unicode', method='html')
    template = Template((_FILES / 'page.html').read_text('utf-8'))
    text = template.substitute(title=heading, policy=policy, style=style, script=script, body=written)
    return text.encode()


def _digest(text: str) -> str:
    return f'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'
