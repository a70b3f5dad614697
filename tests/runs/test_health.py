"""What is found out about a machine, on machines that are made up."""

import collections
import os
import shutil

import jax
import jax.numpy as jnp
import pytest

from ar_seg_jax.runs import health, programs
from ar_seg_jax.training import devices


def test_devices_are_told_with_what_is_missing(monkeypatch):
    monkeypatch.setattr(devices, 'unused_nvidia', lambda: '')
    found, finding = health.seen()
    assert found == jax.local_devices() and finding.words.startswith('8 x cpu, ') and not finding.advice
    monkeypatch.setattr(devices, 'unused_nvidia', lambda: '/dev/nvidia0')
    _, finding = health.seen()
    assert finding.words.endswith('although there is an NVIDIA device (/dev/nvidia0)') and 'jax[cuda12]' in finding.advice

    def fails():
        raise RuntimeError("Unable to initialize backend 'cuda': no such thing\nand more")

    monkeypatch.setattr(jax, 'local_devices', fails)
    found, finding = health.seen()
    assert found == [] and finding.words == "Unable to initialize backend 'cuda': no such thing"
    assert finding.advice.startswith('Unset JAX_PLATFORMS')


@pytest.mark.parametrize('wrong', ['', 'slightly', 'nan'])
def test_a_device_that_multiplies_wrong_is_found_out(monkeypatch, wrong):
    monkeypatch.setattr(health, '_SIDE', 64)
    monkeypatch.setattr(health, '_SECONDS', 0.0)

    def multiply(one, other, precision):
        found = jnp.matmul(one, other, precision=precision)
        place = found.at[5, 7]
        return {'': found, 'slightly': place.add(0.05), 'nan': place.set(jnp.nan)}[wrong]

    found = health.computed(jax.devices()[3], multiply)
    assert bool(found.advice) == bool(wrong)
    assert found.words.startswith('cpu:3: 64 x 64 matrices at ') and ('of at most 1e-04' in found.words) == bool(wrong)


def test_a_device_that_cannot_compute_is_told():
    def multiply(one, other, precision):
        raise RuntimeError('RESOURCE_EXHAUSTED: out of memory\nand more')

    found = health.computed(jax.devices()[0], multiply)
    assert found.words == 'cpu:0: RESOURCE_EXHAUSTED: out of memory' and 'nvidia-smi' in found.advice


def test_the_room_of_a_directory_is_that_of_what_is_there_of_it(tmp_path, monkeypatch):
    usage = collections.namedtuple('usage', 'total used free')
    asked = []
    free = 5e9
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: asked.append(path) or usage(100e9, 0, free))
    found = health.disk('runs', tmp_path / 'not' / 'yet')
    assert found == ('disk', f'{tmp_path}/not/yet, for runs: 5.0 GB of 100.0 free', '') and asked == [tmp_path]
    free = 1e9
    assert health.disk('runs', tmp_path).advice.startswith('Free some')
    free = 5e9
    (tmp_path / 'file').touch()
    assert f'but {tmp_path}/file is a file' in health.disk('runs', tmp_path / 'file' / 'below').words
    monkeypatch.setattr(os, 'access', lambda *_: False)
    found = health.disk('runs', tmp_path)
    assert found.words.endswith('but this user cannot write there') and found.advice


def test_memory_is_the_less_of_what_there_is_and_what_may_be_had(tmp_path):
    meminfo = tmp_path / 'meminfo'
    meminfo.write_text('MemTotal:       64000000 kB\nMemAvailable:   32000000 kB\n')
    (found,) = health.memory({}, meminfo, tmp_path)
    assert found == ('memory', f'{32e6 * 1024 / 1e9:.1f} GB available', '')
    (tmp_path / 'memory.current').write_text('3000000000\n')
    for limit, words in (('max\n', '32.8 GB available'), ('4500000000\n', '1.5 GB available')):
        (tmp_path / 'memory.max').write_text(limit)
        (found,) = health.memory({}, meminfo, tmp_path)
        assert found.words == words and bool(found.advice) == (words < '2')
    assert list(health.memory({}, tmp_path / 'none', tmp_path / 'none')) == []


@pytest.mark.parametrize(('used', 'words'), [(1e9, '15.0 GB'), (15e9, '1.0 GB')])
def test_memory_of_accelerators_is_what_is_left_of_it(tmp_path, used, words):
    statistics = {'cuda:0': {'bytes_limit': 16 * 10**9, 'bytes_in_use': int(used)}, 'cpu:0': None}
    (found,) = health.memory(statistics, tmp_path / 'none', tmp_path / 'none')
    assert found.words == f'cuda:0: {words} of 16.0 that JAX may take' and bool(found.advice) == (used > 14e9)


def test_a_cache_that_is_not_trusted_is_told(tmp_path, monkeypatch):
    directory = tmp_path / 'programs'
    assert health.cache(directory) == ('compiled programs', f'0 files, 0 MB in {directory}', '')
    directory.mkdir()
    (directory / 'a').write_bytes(bytes(2_000_000))
    directory.chmod(0o777)
    monkeypatch.setattr(programs, 'distrust', lambda path: f'others may write to {path}' if path.stat().st_mode & 0o002 else '')
    found = health.cache(directory)
    assert found.words == f'others may write to {directory}' and 'chmod 700' in found.advice
    directory.chmod(0o700)
    assert health.cache(directory).words == f'1 files, 2 MB in {directory}'
