"""What is timed side by side with PyTorch: the training step of the package, and the limits of the device."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ar_seg_jax.methods.ac import AC
from ar_seg_jax.models.autoregressive import Autoregressive
from ar_seg_jax.objectives.mutual_information import InformationLoss
from ar_seg_jax.training.state import create_state
from ar_seg_jax.training.step import make_train_step
from benchmarks.workload import Workload

RATE = 4e-5


@dataclasses.dataclass(frozen=True)
class Contestant:
    """What is timed.

    run: does the work once and waits for its end. facts: of a step, what was found out while it was made, for the results; of a
    limit, the 'amount' of bytes or operations that a run takes.
    """

    name: str
    run: Callable[[], Any]
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def random_images(workload: Workload) -> np.ndarray:
    shape = (workload.batch, workload.side, workload.side, workload.channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def package_step(workload: Workload) -> tuple[Contestant, Any]:
    """The step as the training loop runs it, and the variables it starts from."""
    model = Autoregressive(
        workload.clusters,
        blocks=workload.blocks,
        output_stride=workload.stride,
        attention=workload.attention,
        dtype=jnp.dtype(workload.dtype),
    )
    method, tx = AC(model, InformationLoss(workload.displacement)), optax.adam(RATE)
    batch = {'image': jnp.asarray(random_images(workload))}
    state = jax.jit(lambda image: create_state(method, tx, 0, image))(batch['image'])
    variables = jax.device_get({'params': state.params, **state.extra})
    lowered = jax.jit(make_train_step(method, tx), donate_argnums=0).lower(state, batch)
    start = time.perf_counter()
    program = lowered.compile()
    facts = {'precision': workload.dtype, 'preparation_seconds': time.perf_counter() - start}
    memory = program.memory_analysis()
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    facts['peak_bytes'] = memory.argument_size_in_bytes + memory.temp_size_in_bytes + outputs

    def run():
        nonlocal state
        state, *_ = program(state, batch)
        jax.block_until_ready(state)

    return Contestant('JAX', run, facts), variables


def matmul(dtype: str) -> Contestant:
    """Ten products of square matrices, each with the last one's result."""
    size, count = (8192 if jax.default_backend() == 'gpu' else 2048), 10
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype) / size**0.5
    chain = jax.jit(lambda x: jax.lax.fori_loop(0, count, lambda _, product: product @ x, x)).lower(matrix).compile()
    return Contestant('matmul', lambda: chain(matrix).block_until_ready(), {'amount': 2 * size**3 * count})


def copy() -> Contestant:
    """An array read and another one written."""
    size = (1 << 30) if jax.default_backend() == 'gpu' else (1 << 27)
    array = jnp.zeros(size // 4)
    increment = jax.jit(lambda x: x + 1).lower(array).compile()
    return Contestant('copy', lambda: increment(array).block_until_ready(), {'amount': 2 * size})
