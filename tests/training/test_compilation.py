"""What is told of programs that are compiled during training."""

import functools
import json
import logging
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.training.compilation import Compilation
from ar_seg_jax.training.outputs import Outputs


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, logger='ar_seg_jax')
    return caplog


@pytest.fixture
def double():
    """A function that nothing has compiled yet."""
    return jax.jit(lambda x: 2 * x)


def _steps(directory, double, arrays, phase='', active=True):
    with Outputs(directory) as outputs, Compilation(outputs, active) as compilation:
        for step, array in enumerate(arrays, 1):
            with compilation.step(step, phase):
                double(array)
    return compilation.again


def test_the_first_step_is_announced_and_its_time_told_before_the_next_run(tmp_path, told, double):
    arrays = [np.ones(3, np.float32)] * 3
    assert _steps(tmp_path, double, arrays) == 0
    first, second = told.messages
    assert first == 'Compiling the training step' and second.startswith('Compiled in ')
    kept = json.loads((tmp_path / 'compilation.json').read_text())
    assert list(kept) == ['cpu'] and 0 < kept['cpu'] < 60
    (tmp_path / 'compilation.json').write_text(json.dumps({'cpu': 7.04, 'cpu: background': 'long', 'TPU v4': 3}))
    told.clear()
    _steps(tmp_path, double, arrays)
    assert told.messages[0] == 'Compiling the training step, which took 7.0 s the last time'
    told.clear()
    _steps(tmp_path, double, arrays, phase='background')
    assert told.messages[0] == 'Compiling the training step of phase background'
    kept = json.loads((tmp_path / 'compilation.json').read_text())
    assert kept.keys() == {'cpu', 'cpu: background', 'TPU v4'} and kept['TPU v4'] == 3


def test_a_program_that_is_there_at_once_takes_no_time_and_loses_none(tmp_path, told, double):
    (tmp_path / 'compilation.json').write_text('{"cpu": 0.0, "TPU v4": 3}')
    _steps(tmp_path, double, [np.ones(3)], phase='background')
    assert json.loads((tmp_path / 'compilation.json').read_text()).keys() == {'cpu', 'cpu: background', 'TPU v4'}
    told.clear()
    (tmp_path / 'compilation.json').write_text('{"cpu": 0.0}')
    _steps(tmp_path, double, [np.ones(3)])
    assert told.messages[0] == 'Compiling the training step'


@pytest.mark.parametrize('content', ['[]', '{"cpu": "soon"}', 'no JSON', '{"cpu": Infinity}', '{"cpu": -1}'])
def test_a_file_that_anybody_may_have_written_is_no_number(tmp_path, told, double, content):
    (tmp_path / 'compilation.json').write_text(content)
    _steps(tmp_path, double, [np.ones(3)])
    assert told.messages[0] == 'Compiling the training step'


def test_steps_that_compile_again_are_counted_and_the_first_is_told(tmp_path, told, double):
    arrays = [np.ones(size, np.float32) for size in (3, 3, 4, 3, 4, 5)]
    assert _steps(tmp_path, double, arrays) == 2
    _, _, first, last = told.messages
    assert first.startswith('Step 3 compiled its program again, in ') and 'another shape or type' in first
    assert last == '2 steps compiled something although their program was there'


def test_what_is_compiled_between_steps_and_in_other_threads_is_no_step_s(tmp_path, told, double):
    with Outputs(tmp_path) as outputs, Compilation(outputs, active=True) as compilation:
        for step in (1, 2):
            with compilation.step(step):
                double(np.ones(3))
                if step == 2:
                    other = threading.Thread(target=functools.partial(jax.jit(jnp.cos), np.ones(7)))
                    other.start()
                    other.join()
            jax.jit(jnp.sin)(np.ones(5))
        assert compilation.again == 0


def test_only_one_process_writes(tmp_path, double):
    _steps(tmp_path, double, [np.ones(3)], active=False)
    assert not list(tmp_path.iterdir())


def test_nothing_is_listened_to_after_the_training(tmp_path, double):
    with Outputs(tmp_path) as outputs, Compilation(outputs, active=False) as compilation, compilation.step(1):
        double(np.ones(3))
    before = compilation._programs
    double(np.ones(4))
    assert compilation._programs == before > 0
