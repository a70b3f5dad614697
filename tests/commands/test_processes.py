"""Runs of two processes, as a user starts them."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from ar_seg_jax import processes
from tests.support import commands, compilation

# Of two options of one name the last one counts.
TINY = (
    commands.TEXTURES,
    *commands.TINY,
    '--config.pipeline.batch_size=8',
    '--config.evaluators.segmentation.baselines=False',
    '--config.evaluate_every=0',
    '--config.checkpoint_every=0',
)
TWO_DEVICES = commands.environment(XLA_FLAGS=compilation.flags(devices=2))
HEARTBEAT = 4  # seconds


@pytest.fixture(scope='module')
def local():
    """launch/local.sh as a command, where it need not set up an environment first."""
    installed = commands.ROOT / '.venv' / 'installed.txt'
    if not installed.exists() or installed.read_text() != (commands.ROOT / 'requirements.txt').read_text():
        pytest.skip('.venv does not hold what requirements.txt pins; launch/test.sh sets it up')
    return str(commands.ROOT / 'launch' / 'local.sh')


@pytest.fixture(scope='module')
def kept(trained):
    """Keys of runs that have prepared data and compiled programs in common."""
    return f'--config.data.data_dir={trained.data_dir}', f'--config.compilation_cache={trained.base / "two_processes"}'


def _losses(directory):
    records = map(json.loads, (directory / 'metrics.jsonl').read_text().splitlines())
    return {record['step']: record['loss'] for record in records if record['kind'] == 'training'}


def _table(output):
    return [line for line in output.splitlines() if line.startswith('AC, step')]


def _done(line, **options):
    """A command that went well."""
    done = subprocess.run(line, env=TWO_DEVICES, cwd=commands.ROOT, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done


def test_local_sh_trains_stops_and_goes_on_with_two_processes_and_then_with_one(local, kept, tmp_path):
    keys = [*TINY, *kept, '--config.evaluators.probes.names=()', '--config.evaluation.pictures=0']
    both = [local, *keys, f'--workdir={tmp_path / "both"}']
    first = subprocess.Popen(
        [*both, '--config.steps=100000', '--processes=2'], env=TWO_DEVICES, stderr=subprocess.PIPE, text=True
    )
    for line in first.stderr:
        if line.startswith('step 3/'):
            first.send_signal(signal.SIGTERM)
            break
    told = first.stderr.read()
    assert first.wait() == os.EX_TEMPFAIL
    stopped = int(re.search(r'Stopped after step (\d+), which is saved in', told)[1])
    assert stopped >= 3 and (tmp_path / 'both' / 'checkpoints' / str(stopped)).is_dir()

    def goes_on(steps, *more):
        done = _done([*both, f'--config.steps={steps}', *more])
        assert 'Resuming after step' in done.stderr
        return done

    done = goes_on(stopped + 2, '--processes=2')
    assert 'Devices: 4 x cpu in 2 processes' in done.stderr
    scores = [_done(commands.line('evaluate', f'--workdir={tmp_path / "both"}', f'--processes={count}')) for count in (1, 2)]
    assert _table(scores[0].stdout) == _table(scores[1].stdout) == _table(done.stdout) != []
    goes_on(stopped + 4, '--config.pipeline.workers=1')
    # One process, never stopped, sees the same batches.
    _done([local, *keys, f'--workdir={tmp_path / "alone"}', f'--config.steps={stopped + 4}'])
    losses, expected = _losses(tmp_path / 'both'), _losses(tmp_path / 'alone')
    assert losses.keys() == expected.keys() == set(range(1, stopped + 5))
    assert max(abs(losses[step] - expected[step]) for step in losses) < 0.01


def test_slurm_sh_joins_the_tasks_that_srun_starts(local, kept, tmp_path):
    """`srun` is a stand-in that starts two tasks with the variables that Slurm sets."""
    srun = tmp_path / 'bin' / 'srun'
    srun.parent.mkdir()
    srun.write_text(
        '#!/usr/bin/env bash\n'
        'export SLURM_JOB_ID=4242 SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2 SLURM_STEP_NUM_NODES=1\n'
        'SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & SLURM_PROCID=0 SLURM_LOCALID=0 "$@" && wait $!\n'
    )
    srun.chmod(0o755)
    path = f'{srun.parent}:{os.environ["PATH"]}'
    environment = TWO_DEVICES | {'PATH': path, 'SLURM_SUBMIT_DIR': str(commands.ROOT), 'JAX_EXTRA': ''}
    keys = [*TINY, *kept, f'--workdir={tmp_path / "run"}', '--config.steps=2']
    script = local.replace('local.sh', 'slurm.sh')
    done = subprocess.run([script, *keys], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert 'Devices: 4 x cpu in 2 processes' in done.stderr and len(_table(done.stdout)) == 1


def _pair(tmp_path, kept, *more, own=((), ())):
    """Two processes that were not started together, as on two machines."""
    address = f'localhost:{processes.free_port()}'
    line = commands.line('main', *TINY, *kept, *more, f'--workdir={tmp_path / "run"}', f'--heartbeat_seconds={HEARTBEAT}')
    return [
        subprocess.Popen(
            [*line, *own[index]],
            env=TWO_DEVICES | processes.environment(address, 2, index),
            cwd=commands.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]


@pytest.mark.parametrize(
    ('own', 'message'),
    [
        (
            ((), ('--config.optimizer.learning_rate=0.5',)),
            r'config\.optimizer\.learning_rate is 0\.0001 in process 0, 0\.5 in the other',
        ),
        (((), ('--workdir=elsewhere',)), 'workdir is .*run. in process 0, .*elsewhere. in the other'),
    ],
)
def test_processes_that_disagree_all_say_so(tmp_path, kept, own, message):
    for index, process in enumerate(_pair(tmp_path, kept, '--config.steps=2', own=own)):
        _, told = process.communicate(timeout=60)
        assert process.returncode == 1
        expected = f'error: process {index}: process 0 and process 1 do not run the same thing: {message}. Start all processes'
        assert re.search(expected, told), told


def test_a_batch_that_does_not_divide_over_all_devices_is_refused(tmp_path, kept):
    for process in _pair(tmp_path, kept, '--config.steps=2', '--config.pipeline.batch_size=6'):
        _, told = process.communicate(timeout=60)
        assert process.returncode == 1
        assert 'batch size 6 does not divide over 4 devices; set --config.pipeline.batch_size to 4 or 8.' in told


@pytest.mark.parametrize('absent', [0, 1])
def test_one_that_does_not_join_is_not_waited_for_longer_than_for_a_sign_of_life(tmp_path, kept, absent):
    pair = _pair(tmp_path, kept, '--config.steps=2')
    pair[absent].kill()
    begun = time.monotonic()
    _, told = pair[1 - absent].communicate(timeout=60)
    assert pair[1 - absent].returncode == 1 and time.monotonic() - begun < 4 * HEARTBEAT
    assert told.startswith(f'error: process {1 - absent}: not all processes of the run joined within {HEARTBEAT} s; their own')
    assert told.count('\n') == 1


@pytest.mark.parametrize(('victim', 'number'), [(0, signal.SIGKILL), (1, signal.SIGKILL), (1, signal.SIGSTOP)])
def test_when_one_dies_or_hangs_the_other_ends_in_time_and_says_why(tmp_path, kept, victim, number):
    pair = _pair(tmp_path, kept, '--config.steps=1000000', '--config.log_every=1000000')
    next(line for line in pair[0].stderr if line.startswith('step 1/'))
    pair[victim].send_signal(number)
    killed = time.monotonic()
    survivor = pair[1 - victim]
    try:
        _, told = survivor.communicate(timeout=60)
    finally:
        pair[victim].kill()
    assert time.monotonic() - killed < 3 * HEARTBEAT
    assert survivor.returncode == 1
    assert re.search('^error: .*Another process ended or cannot be reached; its own output says why', told, re.MULTILINE), told
