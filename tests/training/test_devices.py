"""A training that would be on CPU by mistake."""

import subprocess
import sys

import jax
import pytest

from ar_seg_jax.errors import UserError
from ar_seg_jax.training import devices
from tests.support import commands


@pytest.fixture
def places(tmp_path):
    """Where a driver is found, and no device."""
    (tmp_path / 'version').touch()
    return tmp_path / 'nvidia0', tmp_path / 'version'


def test_an_nvidia_device_that_jax_does_not_use_is_an_error(places):
    message = rf'^there is an NVIDIA device \({places[1]}\), but JAX {jax.__version__} computes on CPU\. .* give --allow_cpu or'
    with pytest.raises(UserError, match=message):
        devices.require_accelerator(places, {})
    places[1].unlink()
    devices.require_accelerator(places, {})


@pytest.mark.parametrize('environment', [{'JAX_PLATFORMS': 'cpu'}, {'CUDA_VISIBLE_DEVICES': ''}, {'CUDA_VISIBLE_DEVICES': '-1'}])
def test_cpu_is_fine_for_those_who_asked_for_it(places, environment):
    devices.require_accelerator(places, environment)
    assert devices.unused_nvidia(places, {'CUDA_VISIBLE_DEVICES': '0'})


def test_another_accelerator_is_fine(places, monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    devices.require_accelerator(places, {})


PROGRAM = """
import pathlib, runpy, sys
from ar_seg_jax.training import devices
devices.require_accelerator.__defaults__ = ((pathlib.Path(sys.argv.pop(1)),), {})
sys.argv[0] = 'main'
runpy.run_module('ar_seg_jax.main', run_name='__main__', alter_sys=True)
"""


@pytest.mark.parametrize('allowed', [False, True])
def test_a_training_does_not_begin_on_cpu_unless_that_is_allowed(places, tmp_path, allowed):
    """With a mistake that is told later, so that no training begins here."""
    options = ('--config=configs/folder.py', '--config.data.root=/nowhere', f'--workdir={tmp_path / "run"}')
    line = [sys.executable, '-c', PROGRAM, str(places[1]), *options, *(['--allow_cpu'] if allowed else [])]
    environment = commands.environment(PYTHONPATH=str(commands.ROOT))
    done = subprocess.run(line, cwd=commands.ROOT, env=environment, capture_output=True, text=True, timeout=120)
    expected = '/nowhere: no such directory' if allowed else f'there is an NVIDIA device ({places[1]})'
    assert done.returncode == 1 and done.stderr.startswith(f'error: {expected}'), done.stderr
    assert not (tmp_path / 'run').exists()
