"""The commands as a user types them, with a run that is small enough for a test."""

import os
import subprocess
import sys
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
    """Compiles in half the time; benchmarks/test_kills.py runs what users run, which is slower to compile."""
    return os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': compilation.flags()} | more


def line(command, *arguments):
    return [sys.executable, '-m', f'ar_seg_jax.{command}', *map(str, arguments)]


def run(command, *arguments, timeout=300, directory=ROOT, **options):
    """A command that has ended, started in a directory."""
    options = {'env': environment(PYTHONPATH=str(ROOT)), 'capture_output': True, 'text': True, 'timeout': timeout, **options}
    return subprocess.run(line(command, *arguments), cwd=directory, **options)


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
