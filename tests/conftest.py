"""Eight simulated devices and strict broadcasting, for every test."""

import os

# Read when the backend starts, so before anything computes.
os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8'.strip()

import jax
from absl import flags, logging

# A silent broadcast from (classes,) to (batch, height, width, classes) is how a loss goes wrong unnoticed.
jax.config.update('jax_numpy_rank_promotion', 'raise')
logging.set_verbosity(logging.ERROR)
flags.FLAGS(['pytest'])  # grain reads absl flags, which nobody has parsed here
