"""The commands as a user types them, with a run that is small enough for a test."""

import functools
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.support import compilation

ROOT = Path(__file__).parents[2]
TEXTURES = '--config=configs/textures.py'
SMALL_MODEL = (
    '--config.pipeline.crop_size=32',
    '--config.pipeline.batch_size=4',
    '--config.evaluation.batch_size=4',
    '--config.evaluators.probes.pixels=500',
    '--config.evaluators.probes.steps=3',
    '--config.model.blocks=1',
    '--config.evaluate_every=3',
    '--config.checkpoint_every=2',
    '--config.log_every=1',
)
TINY = ('--config.data.size=48', '--config.data.train_count=16', '--config.data.val_count=4', *SMALL_MODEL)


def environment(**more):
    """Variables for a command, which then compiles in half the time; tests/benchmarks/test_kills.py runs what users run."""
    return os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': compilation.flags()} | more


def line(command, *arguments):
    return [sys.executable, '-m', f'ar_seg_jax.{command}', *map(str, arguments)]


def run(command, *arguments, timeout=300, directory=ROOT, **options):
    """A command that has ended, started in a directory. Without `options`, of `subprocess.run`, see `forking`."""
    if not options:
        return _forked(command, arguments, timeout, directory)
    options = {'env': environment(PYTHONPATH=str(ROOT)), 'capture_output': True, 'text': True, 'timeout': timeout, **options}
    return subprocess.run(line(command, *arguments), cwd=directory, **options)


def _forked(command, arguments, timeout, directory):
    with tempfile.NamedTemporaryFile('r') as stdout, tempfile.NamedTemporaryFile('r') as stderr:
        request = {
            'module': f'ar_seg_jax.{command}',
            'arguments': list(map(str, arguments)),
            'environment': environment(PYTHONPATH=str(ROOT)),
            'directory': str(directory),
            'stdout': stdout.name,
            'stderr': stderr.name,
        }
        status = _answer(request, timeout)
        return subprocess.CompletedProcess(line(command, *arguments), status, stdout.read(), stderr.read())


def _answer(request, timeout):
    """The exit status of what `forking` starts. TimeoutError if that does not end in time, RuntimeError if `forking` ends."""
    server = _server()
    server.stdin.write(f'{json.dumps(request)}\n')
    server.stdin.flush()
    with selectors.DefaultSelector() as selector:
        selector.register(server.stdout, selectors.EVENT_READ)
        in_time = selector.select(timeout)
    if in_time and (answer := server.stdout.readline()):
        return int(answer)
    _server.cache_clear()
    os.killpg(server.pid, signal.SIGKILL)
    if in_time:
        raise RuntimeError(f'tests/support/forking.py ended with status {server.wait()}')
    raise TimeoutError(f'{request["module"]} {request["arguments"]} takes more than {timeout} s')


@functools.cache
def _server():
    """One for all tests of this process, which ends with it: there is nothing more to read then."""
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name('forking.py')], env=environment(), text=True, start_new_session=True, **pipes
    )


def train(data_dir, directory, steps, *more, config='configs/textures.py'):
    """A tiny training that went well."""
    fixed = (f'--config={config}', f'--config.data.data_dir={data_dir}', f'--config.steps={steps}', f'--workdir={directory}')
    done = run('main', *fixed, *TINY, *more)
    assert done.returncode == 0, done.stderr
    return done


def model_of(directory, step):
    """Parameters and extra of a checkpoint, through Orbax alone."""
    import orbax.checkpoint as ocp

    manager = ocp.CheckpointManager(directory / 'checkpoints')
    model = manager.restore(step, args=ocp.args.Composite(model=ocp.args.StandardRestore()))['model']
    return {'params': model['params'], 'extra': model['extra']}


def leaves_of(directory, step):
    """The arrays of a checkpoint's model."""
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(model_of(directory, step))]
