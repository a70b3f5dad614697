"""What is written down of a measurement."""

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import report

RESULTS = sorted((Path(report.__file__).parent / 'results').glob('*.json'))


def test_results_name_no_place_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv(report.ELSEWHERE, str(tmp_path))
    arguments = ['--workdir', '/home/me/run', '--images=/data/a', '--rounds=3', 'configs/coco3.py', '-v']
    monkeypatch.setattr(sys, 'argv', ['x', *arguments])
    path = report.save('trial', {'found': 1}, 'small')
    content = json.loads(path.read_text())
    assert path.name == 'trial_small_cpu.json' and content['found'] == 1
    assert content['command'] == 'python -m benchmarks.trial --workdir DIR --images=DIR --rounds=3 configs/coco3.py -v'


@pytest.mark.parametrize('path', RESULTS, ids=lambda path: path.name)
def test_kept_results_name_none_either(path):
    assert not [word for word in json.loads(path.read_text())['command'].replace('=', ' ').split() if word.startswith('/')]
    assert not re.findall(r'/(?:home|root|tmp|usr|work)/[^"]*', path.read_text())
