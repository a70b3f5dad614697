"""A real browser without a screen: what it makes of a page, and of what a person does there."""

import html
import json
import re
import shutil
import subprocess

_NAMES = ('chromium', 'chromium-browser', 'google-chrome')


def found():
    """The program, or None."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def results(directory, page, script, *flags):
    """What a `script` gives that runs beside a page, which is its `page` (a document) and `view` (a window); and what the
    browser complains about."""
    (directory / 'page.html').write_bytes(page)
    harness = directory / 'harness.html'
    body = f'<iframe src=page.html width=1200 height=900></iframe><script>{_BESIDE % script}</script>'
    harness.write_text(f'<!DOCTYPE html><meta charset=utf-8><body>{body}')
    fixed = ('--headless', '--no-sandbox', '--disable-gpu', '--allow-file-access-from-files', '--enable-logging=stderr')
    line = [found(), *fixed, f'--user-data-dir={directory / "profile"}', '--virtual-time-budget=5000', *flags, '--dump-dom']
    done = subprocess.run([*line, harness.as_uri()], capture_output=True, text=True, timeout=120)
    (told,) = re.findall('<output>(.*?)</output>', done.stdout, re.DOTALL)
    complaints = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
    return json.loads(html.unescape(told)), complaints


_BESIDE = """
onload = () => {
  const view = frames[0], page = view.document;
  const told = document.createElement('output');
  const tell = found => { told.textContent = JSON.stringify(found); document.body.append(told); };
  new Promise(resolve => resolve((() => { %s })())).then(tell, error => tell(String(error)));
};
"""
