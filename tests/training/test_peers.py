"""Joining the processes of a run."""

import signal
import subprocess
import sys

from ar_seg_jax import processes
from tests.support import commands

ALONE = """
import os, signal, sys
from ar_seg_jax.training import peers
place = {'coordinator_address': f'localhost:{sys.argv[1]}', 'num_processes': 1, 'process_id': 0}
peers.join(place, heartbeat_seconds=30)
print('joined', flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_sigterm_ends_a_process_that_has_joined_and_has_nothing_to_save():
    """JAX's own notice of it would be lost, and the process train on without those who ended it."""
    line = [sys.executable, '-c', ALONE, str(processes.free_port())]
    done = subprocess.run(line, env=commands.environment(), cwd=commands.ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, 'joined\n'), done.stderr
