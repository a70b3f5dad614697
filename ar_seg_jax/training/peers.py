"""The processes of one run: joining them, what they must agree on, and what is said when one is lost."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ar_seg_jax import differences

_LOST = ('Gloo', 'NCCL', 'coordination service', 'heartbeat', 'DEADLINE_EXCEEDED')


def join(place: Mapping[str, Any] | None, heartbeat_seconds: int):
    """Joins the other processes of the run: those of `place`, or else those that Slurm, Open MPI or a TPU pod tell of.

    A process that gives no sign of life for `heartbeat_seconds` ends all others. Raises ValueError if there is nothing to
    join.
    """
    try:
        jax.distributed.initialize(**(place or {}), heartbeat_timeout_seconds=heartbeat_seconds)
    except ValueError as error:
        raise ValueError(
            f'--distributed found no other processes ({error}); start them with Slurm, on a TPU pod, with --processes=N, or set '
            'JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID'
        ) from error
    if jax.process_index():
        logging.getLogger('ar_seg_jax').setLevel(logging.ERROR)


def require_same(content: Mapping[str, Any]):
    """ValueError on every process, with the keys that differ, unless `content` (JSON) is the same on all of them."""
    own = json.dumps(content, sort_keys=True).encode()
    lengths = np.atleast_1d(multihost_utils.process_allgather(np.int32(len(own))))
    padded = np.frombuffer(own.ljust(max(lengths)), np.uint8)
    texts = np.atleast_2d(multihost_utils.process_allgather(padded))
    first, *others = (json.loads(bytes(text)) for text in texts)
    for index, other in enumerate(others, start=1):
        if found := differences.between(first, other):
            raise ValueError(
                f'process 0 and process {index} do not run the same thing: {differences.words(found, "process 0", "the other")}. '
                'Start all processes with the same command'
            )


def all_agree(answer: bool) -> bool:
    """Whether the answer is True on every process."""
    return bool(np.all(multihost_utils.process_allgather(np.bool_(answer))))


def wait(purpose: str):
    """Waits for all processes to come here."""
    multihost_utils.sync_global_devices(purpose)


def explain(error: Exception) -> str:
    """The message of an error of a run of several processes."""
    message = f'process {jax.process_index()}: {error}'
    if any(sign in message for sign in _LOST):
        message += (
            '. Another process ended or cannot be reached; its own output says why. The last checkpoint is kept: the same '
            'command goes on from there'
        )
    return message
