"""The examples of docs/contributing.md, as they stand there."""

import functools
import importlib.util
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from tests.support.commands import ROOT

_BLOCK = re.compile(r'```python\n# (?P<path>\S+)\n(?P<code>.*?)```', re.DOTALL)


def sources() -> dict[str, str]:
    """The code of each, by the path that the page gives it."""
    return {block['path']: block['code'] for block in _BLOCK.finditer((ROOT / 'docs' / 'contributing.md').read_text())}


@functools.cache
def modules() -> Mapping[str, ModuleType]:
    """The same as modules, imported once: TFDS knows a data set by its name, and refuses another one of this name."""
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        for path, code in sources().items():
            file = Path(directory) / path.replace('/', '_')
            file.write_text(code)
            spec = importlib.util.spec_from_file_location(file.stem, file)
            found[path] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(found[path])
    return found
