"""What a start takes is parted into its parts."""

import json
import subprocess
import sys

from benchmarks import start_up_parts, timing
from tests.support import commands


def test_a_start_is_taken_apart(trained, tmp_path):
    options = (f'--config.data.data_dir={trained.data_dir}', f'--workdir={tmp_path}', '--config.steps=6')
    line = [sys.executable, '-m', 'benchmarks.start_up_parts', commands.TEXTURES, *commands.TINY, *options]
    done = subprocess.run(line, cwd=commands.ROOT, env=commands.environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found['imports'])[1:] == list(start_up_parts.IMPORTS) and found['imports']['jax'] > 0.01
    taken = [part for part, seconds in found['parts'].items() if seconds > 0]
    assert {'devices', 'data set', 'state before training', 'first step, computed', 'everything else'} <= set(taken)
    assert found['parts']['refresh'] == 0  # AC has none
    programs = found['jax']['found or compiled']['count']
    assert programs >= 2 and found['jax']['traced']['count'] >= programs  # the state, and the step
    assert found['jax']['of these found, and read']['count'] == programs  # those of the run before


def test_medians_are_those_of_each_number():
    found = [{'a': 1, 'b': {'c': 5}}, {'a': 3, 'b': {'c': 7}}, {'a': 2, 'b': {'c': 100}}]
    assert timing.medians(found) == {'a': 2, 'b': {'c': 7}}
