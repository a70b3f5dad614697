"""The command for a machine with a GPU, tried without one."""

import importlib.util
import json

import numpy as np
import pytest

from benchmarks import agreement, gpu, largest_batch
from benchmarks.gpu import Part


def test_every_part_has_a_trial_and_a_module():
    assert gpu.TINY.keys() == gpu.PARTS.keys()
    for command in (*gpu.TINY.values(), *(part.command for part in gpu.PARTS.values())):
        assert importlib.util.find_spec(command.split()[0]), command


def test_a_part_that_fails_or_hangs_does_not_end_the_others(tmp_path, monkeypatch, capsys):
    parts = {
        'fails': Part('benchmarks.no_such_part', 60),
        'hangs': Part('timeit -n 1 -r 1 -s "import time" "time.sleep(60)"', 1),
        'rates': Part(gpu.TINY['rates'], 60),
        'too late': Part('this', 60),
    }
    monkeypatch.setattr(gpu, 'PARTS', parts)
    output = tmp_path / 'found'
    output.mkdir()

    def tell(found, directory):
        gpu.write(found, output, directory)
        if found['rates']:
            monkeypatch.setattr(gpu.time, 'monotonic', lambda: float('inf'))

    gpu.run_all(list(parts), 9, False, tell)
    found = json.loads((output / 'gpu.json').read_text())
    assert found['fails']['status'] == 1 and 'no_such_part' in found['fails']['told']
    assert found['hangs']['status'] == 124 and found['too late'] is None
    (saved,) = found['rates']['results'].values()
    assert found['rates']['status'] == 0 and saved['rates'].keys() == {'float32', 'bfloat16', 'copy'}
    page = (output / 'gpu.md').read_text()
    assert '| too late | not run | - |' in page and '| fails | 1 |' in page and 'GFLOP/s' in page
    assert 'hangs: status 124' in capsys.readouterr().out


def test_a_trace_comes_along(tmp_path):
    trace = tmp_path / 'run' / 'tensorboard' / 'plugins' / 'profile' / 'today' / 'host.xplane.pb'
    trace.parent.mkdir(parents=True)
    trace.write_bytes(b'steps')
    gpu.write({}, tmp_path, tmp_path)
    with gpu.zipfile.ZipFile(tmp_path / 'trace.zip') as archive:
        assert archive.read('plugins/profile/today/host.xplane.pb') == b'steps'


@pytest.mark.parametrize('limit', [0, 1, 2, 5, 7, 100, 1000, 4096, 5000])
def test_the_largest_batch_is_found_to_an_eighth(limit):
    tried = []
    good, bad = largest_batch.largest(lambda batch: tried.append(batch) or batch <= limit, 4096)
    assert good <= min(limit, 4096) < bad or (good, bad) == (4096, 4097)
    assert bad - good <= max(1, good // 8) and len(set(tried)) == len(tried) <= 24


def test_differences_are_relative_to_the_norms_of_arrays():
    one = (1.5, [np.array([3.0, 4.0]), np.zeros(2), np.array([[2.0]])])
    other = (1.25, [np.array([3.0, 0.0]), np.zeros(2), np.array([[1.0]])])
    assert agreement.differences(one, other) == {'loss': 0.25, 'largest': pytest.approx(4 / 3), 'median': 1.0}
    (found,) = {agreement.differences((0.0, [np.array([2.0])]), (0.0, [np.zeros(1)]))['largest']}
    assert found == 2.0
