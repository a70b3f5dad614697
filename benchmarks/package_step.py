"""The training step of the package, to be timed."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ar_seg_jax import build
from ar_seg_jax.interfaces import Epochs
from ar_seg_jax.training.optimizer import Optimizer
from ar_seg_jax.training.state import create_state
from ar_seg_jax.training.step import make_train_step
from benchmarks import programs
from benchmarks.timing import Contestant
from benchmarks.workload import Workload

RATE = 4e-5


def random_images(workload: Workload) -> np.ndarray:
    shape = (workload.batch, workload.side, workload.side, workload.channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def package_step(workload: Workload) -> tuple[Contestant, Any]:
    """The step as the training loop runs it, and the variables it starts from."""
    method, optimizer = build.method(workload.to_config()), Optimizer(optax.adam(RATE))
    batch = {'image': jnp.asarray(random_images(workload))}
    state = jax.jit(lambda image: create_state(method, optimizer.tx, 0, image))(batch['image'])
    variables = jax.device_get({'params': state.params, **state.extra})
    step = make_train_step(method, optimizer, epochs=Epochs(workload.batch, workload.batch))
    lowered = jax.jit(step, donate_argnums=0).lower(state, batch)
    start = time.perf_counter()
    program = lowered.compile()
    facts = {'precision': workload.dtype, 'preparation_seconds': time.perf_counter() - start}
    facts['peak_bytes'] = programs.peak_bytes(program)

    def run():
        nonlocal state
        state, *_ = program(state, batch)
        jax.block_until_ready(state)

    return Contestant('JAX', run, facts), variables
