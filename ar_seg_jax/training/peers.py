"""The processes of one run: joining them, what they must agree on, and what is said when one is lost."""

import ctypes
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ar_seg_jax import configuration
from ar_seg_jax.errors import UserError

_MARGIN = 60  # seconds between our own limit and that of JAX
_LOSS = (
    'Another process ended or cannot be reached; its own output says why. The last checkpoint is kept: the same command goes on '
    'from there'
)
_LOST = ('Gloo', 'NCCL', 'coordination service', 'heartbeat', 'DEADLINE_EXCEEDED')


def join(place: Mapping[str, Any] | None, heartbeat_seconds: int):
    """Joins the other processes of the run: those of `place`, or else those that Slurm, Open MPI or a TPU pod tell of.

    A process that gives no sign of life for `heartbeat_seconds` ends all others, and so does one that does not join in that
    time. Raises UserError if there is nothing to join.
    """
    # JAX would catch SIGTERM from here on and tell nobody but those who ask: until `Stop` meets it, it ends this process.
    jax.config.update('jax_enable_preemption_service', False)
    # Where not all have joined in time JAX aborts, with the stacks of its threads: this comes before it.
    late = threading.Timer(heartbeat_seconds, _end_alone, (place, heartbeat_seconds))
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            **(place or {}),
            initialization_timeout=heartbeat_seconds + _MARGIN,
            heartbeat_timeout_seconds=heartbeat_seconds,
        )
    except ValueError as error:
        raise UserError(
            f'--distributed found no other processes ({error}); start them with Slurm, on a TPU pod, with --processes=N, or set '
            'JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID'
        ) from error
    finally:
        late.cancel()
    ctypes.CDLL(None).signal(signal.SIGABRT, _aborted)
    if jax.process_index():
        logging.getLogger('ar_seg_jax').setLevel(logging.ERROR)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _aborted(_: int):
    """Instead of the end by SIGABRT, with which JAX's own thread answers the loss of another process: it only says why to those
    who know JAX. Python's handlers come too late for that, since they wait for the main thread."""
    os.write(2, f'error: JAX ended this process, and its lines above say why. If they are about another task: {_LOSS}\n'.encode())
    os._exit(1)


def _end_alone(place: Mapping[str, Any] | None, seconds: int):
    name = f'process {place["process_id"]}' if place else 'a process'
    print(
        f'error: {name}: not all processes of the run joined within {seconds} s; their own output says why. Start all of them '
        'again, or give them more --heartbeat_seconds',
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


def require_same(content: Mapping[str, Any]):
    """UserError on every process, with the keys that differ, unless `content` (JSON) is the same on all of them."""
    own = json.dumps(content, sort_keys=True).encode()
    lengths = np.atleast_1d(multihost_utils.process_allgather(np.int32(len(own))))
    padded = np.frombuffer(own.ljust(max(lengths)), np.uint8)
    texts = np.atleast_2d(multihost_utils.process_allgather(padded))
    first, *others = (json.loads(bytes(text)) for text in texts)
    for index, other in enumerate(others, start=1):
        if found := configuration.differences(first, other):
            raise UserError(
                f'process 0 and process {index} do not run the same thing: '
                f'{configuration.in_words(found, "process 0", "the other")}. Start all processes with the same command'
            )


def all_agree(answer: bool) -> bool:
    """Whether the answer is True on every process."""
    return bool(np.all(multihost_utils.process_allgather(np.bool_(answer))))


def wait(purpose: str):
    """Waits for all processes to come here."""
    multihost_utils.sync_global_devices(purpose)


def is_lost(error: Exception) -> bool:
    """Whether an error is what is left to see of another process's end."""
    return any(sign in str(error) for sign in _LOST)


def explain(error: Exception) -> str:
    """The message of an error of a run of several processes."""
    message = f'process {jax.process_index()}: {error}'
    if is_lost(error):
        message += f'. {_LOSS}'
    return message
