"""Several processes of one command on this machine, as on several machines."""

import os
import signal
import socket
import subprocess
import sys


def start(count: int) -> int:
    """Runs this command as `count` processes that will join; the highest exit status, 128 + n for a process that signal n ended.

    Signals are handed on, once to each: the processes are no part of the terminal's group, which would get Ctrl-C too.
    """
    address = f'localhost:{_free_port()}'
    command = [sys.executable, *sys.orig_argv[1:]]
    children = []

    def hand_on(number, _):
        for child in children:
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    for index in range(count):
        environment = os.environ | _environment(address, count, index)
        children.append(subprocess.Popen(command, env=environment, start_new_session=True))
    # The highest tells most: a process that only lost another one says 1.
    return max(status if status >= 0 else 128 - status for status in [child.wait() for child in children])


def place() -> dict[str, str | int] | None:
    """Where this process stands among those that `start` or a user's environment describes; None if it is alone."""
    if 'JAX_PROCESS_ID' not in os.environ:
        return None
    return {
        'coordinator_address': os.environ['JAX_COORDINATOR_ADDRESS'],
        'num_processes': int(os.environ['JAX_NUM_PROCESSES']),
        'process_id': int(os.environ['JAX_PROCESS_ID']),
    }


def _environment(address: str, count: int, index: int) -> dict[str, str]:
    # One GPU for each process; without GPUs this has no effect.
    own_device = {'JAX_LOCAL_DEVICE_IDS': str(index)}
    return own_device | {
        'JAX_COORDINATOR_ADDRESS': address,
        'JAX_NUM_PROCESSES': str(count),
        'JAX_PROCESS_ID': str(index),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        return probe.getsockname()[1]
