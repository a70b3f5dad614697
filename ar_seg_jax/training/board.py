"""Scalars and pictures for TensorBoard."""

import os
import socket
import struct
import time

import numpy as np
from jaxtyping import UInt8
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from ar_seg_jax.training.outputs import Outputs


class Board:
    """An event file in `tensorboard/`; what earlier files have from step `start` on counts no more.

    tensorboardX makes the events, and its own writer is left out: a thread, which a full disk ends.
    """

    def __init__(self, outputs: Outputs, start: int):
        name = f'events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}'
        self._outputs, self._path = outputs, outputs.directory / 'tensorboard' / name
        self._write(Event(file_version='brain.Event:2'))
        self._write(Event(session_log=SessionLog(status=SessionLog.START), step=start))

    def scalar(self, name: str, value: float, step: int):
        self._write(Event(summary=summary.scalar(name, value), step=step))

    def picture(self, name: str, picture: UInt8[np.ndarray, 'height width 3'], step: int):
        self._write(Event(summary=summary.image(name, picture, dataformats='HWC'), step=step))

    def _write(self, event: Event):
        """As a record of TFRecord: the length, the content, and a masked CRC-32C of each."""
        event.wall_time = time.time()
        content = event.SerializeToString()
        length = struct.pack('<Q', len(content))
        checksums = [struct.pack('<I', masked_crc32c(part)) for part in (length, content)]
        self._outputs.append(self._path, length + checksums[0] + content + checksums[1])
