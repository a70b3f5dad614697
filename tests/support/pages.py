"""Pages of HTML as a browser would read them: the elements, their attributes and their texts."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

_VOID = {'br', 'img', 'input', 'link', 'meta', 'hr'}


class Node:
    def __init__(self, tag, attributes):
        self.tag, self.attributes, self.children = tag, attributes, []

    def all(self, tag=None, **attributes):
        """The elements below of a tag, in order, whose attributes are these; `class_` is one of its classes."""
        for child in self.children:
            if isinstance(child, Node):
                if child._is(tag, attributes):
                    yield child
                yield from child.all(tag, **attributes)

    def one(self, tag=None, **attributes):
        (found,) = self.all(tag, **attributes)
        return found

    def _is(self, tag, attributes):
        wanted = dict(attributes)
        cls = wanted.pop('class_', None)
        same = all(self.attributes.get(name) == value for name, value in wanted.items())
        return tag in (None, self.tag) and same and (cls is None or cls in self.attributes.get('class', '').split())

    @property
    def text(self):
        return ''.join(child if isinstance(child, str) else child.text for child in self.children)


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.root = Node('', {})
        self._open = [self.root]

    def handle_starttag(self, tag, attributes):
        node = Node(tag, dict(attributes))
        self._open[-1].children.append(node)
        if tag not in _VOID:
            self._open.append(node)

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        self._open[-1].children.append(data)


def read(content):
    """The tree of a page; AssertionError unless all that is opened is closed."""
    reader = _Reader()
    reader.feed(content.decode() if isinstance(content, bytes) else content)
    assert len(reader._open) == 1
    return reader.root


def pixels(image):
    """Those of an <img> that carries them."""
    encoded = image.attributes['src'].partition('base64,')[2]
    return np.array(Image.open(io.BytesIO(base64.b64decode(encoded))).convert('RGB'))


def cells(table):
    """Rows of texts."""
    return [[cell.text for cell in row.children if isinstance(cell, Node)] for row in table.all('tr')]
