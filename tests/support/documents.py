"""README.md and the pages of docs/: their code, and the commands in it."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.commands import ROOT

PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]

_FENCED = re.compile(r'^```(\w*)\n(.*?)^```$', re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r'^(?:[A-Z_]+=\S+ )?(?:\.venv/bin/)?(python|launch|ar-seg|pip|sbatch|gcloud|for|\.\.\.)(?=[ /])')
_INLINE = re.compile(r'`([^`\n]+ --[^`\n]+)`')
_NOT_RUN = re.compile(r'#.*\bno test runs this$')
_PROGRAM = re.compile(r'-m (?P<module>[\w.]+)|launch/(?:local|slurm|tpu)\.sh|ar-seg (?P<command>\w+)')
_NUMBER = re.compile(r'(?<==)N\b|(?<= )N\b|\$seed')


class Command(NamedTuple):
    """A command as a page has it, without its comment, and whether the page says that no test runs it."""

    text: str
    not_run: bool

    @property
    def program(self) -> tuple[str, list[str]] | None:
        """The module that it runs and its arguments, with all that is optional and numbers in place of letters; None for none."""
        found = _PROGRAM.search(self.text)
        if not found:
            return None
        command = {'train': 'main'}.get(found['command'], found['command'])
        module = found['module'] or f'ar_seg_jax.{command or "main"}'
        rest = re.split(r'; done|\'$', self.text[found.end() :])[0].replace('[--config.key=value ...]', '')
        rest = re.sub(r'\b(\w+)\|\w+', r'\1', _NUMBER.sub('1', re.sub(r'[\[\]]', '', rest)))
        return module, shlex.split(rest)


def python(page: Path) -> list[str]:
    """Its Python, block by block."""
    return [code for language, code in _FENCED.findall(page.read_text()) if language == 'python']


def commands(page: Path) -> Iterator[Command]:
    """Its commands, one for each line of code that begins with one; '...' stands for the command before, with other options."""
    before = ''
    for line in _lines(page):
        if _COMMAND.match(line):
            text, not_run = re.sub(r'\s+#.*$', '', line), bool(_NOT_RUN.search(line))
            if text.startswith('...'):
                text = before + text.removeprefix('...')
            before = text
            yield Command(text, not_run)


def named(page: Path) -> Iterator[Command]:
    """Commands with flags in its running text and its tables, which need not say whether tests run them."""
    for text in _INLINE.findall(page.read_text()):
        if _COMMAND.match(text) and not text.endswith('...'):
            yield Command(text, not_run=True)


def _lines(page: Path) -> Iterator[str]:
    """Of its code, with those that go on in the next one joined."""
    text = _FENCED.sub(lambda block: '' if block[1] == 'python' else textwrap.indent(block[2], '    '), page.read_text())
    for line in re.sub(r'\\\n\s*', '', text).splitlines():
        if line.startswith('    '):
            yield line.strip()
