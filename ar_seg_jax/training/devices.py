"""Whether a training uses the devices that this machine has."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from ar_seg_jax.errors import UserError

NVIDIA = (Path('/dev/nvidia0'), Path('/proc/driver/nvidia/version'))  # of Linux: a device, and a driver that is loaded
ADVICE = 'Install the JAX for it: JAX_EXTRA=cuda12 launch/local.sh ..., or pip install "jax[cuda12]"; nvidia-smi tests the driver'


def unused_nvidia(places: Sequence[Path] = NVIDIA, environment: Mapping[str, str] = os.environ) -> str:
    """The file that tells of an NVIDIA device, although JAX computes on CPU; '' if there is none.

    CPU is fine for those who asked for it, with JAX_PLATFORMS or by hiding all devices with CUDA_VISIBLE_DEVICES.
    """
    asked = environment.get('JAX_PLATFORMS') == 'cpu' or environment.get('CUDA_VISIBLE_DEVICES') in ('', '-1')
    if asked or jax.default_backend() != 'cpu':
        return ''
    return next((str(place) for place in places if place.exists()), '')


def require_accelerator(places: Sequence[Path] = NVIDIA, environment: Mapping[str, str] = os.environ):
    """UserError if there is an NVIDIA device that JAX does not use: a training on CPU takes days in place of hours."""
    if found := unused_nvidia(places, environment):
        raise UserError(
            f'there is an NVIDIA device ({found}), but JAX {jax.__version__} computes on CPU. {ADVICE}; python -m '
            'ar_seg_jax.doctor says more. To train on CPU give --allow_cpu or, also for sweeps, set JAX_PLATFORMS=cpu'
        )
