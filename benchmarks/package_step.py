"""The training step of the package, to be timed."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ar_seg_jax import build
from ar_seg_jax.epochs import Epochs
from ar_seg_jax.interfaces import Method
from ar_seg_jax.training.optimizer import Optimizer
from ar_seg_jax.training.state import create_state
from ar_seg_jax.training.step import make_train_step
from benchmarks import programs
from benchmarks.comparison import Form
from benchmarks.timing import Contestant

RATE = 4e-5


class Sized(Protocol):
    """A training step of some sizes."""

    batch: int
    side: int
    channels: int
    dtype: str

    def to_config(self) -> dict[str, Any]:
        """What `build.method` makes its method from."""


def random_images(workload: Sized) -> np.ndarray:
    shape = (workload.batch, workload.side, workload.side, workload.channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def random_batch(method: Method, workload: Sized) -> dict[str, jax.Array]:
    """Noise, of which all is of class 0, one region, and seen whole."""
    image = random_images(workload)
    batch = {name: jnp.zeros(array.shape, array.dtype) for name, array in programs.batch_of(method, image.shape).items()}
    whole = {'box': jnp.tile(jnp.array([0.0, 0.0, 1.0, 1.0]), (len(image), 1))} if 'box' in batch else {}
    return {**batch, **whole, 'image': jnp.asarray(image)}


def package_step(workload: Sized) -> tuple[Contestant, Any]:
    """The step as the training loop runs it, and the variables it starts from."""
    method, optimizer = build.method(workload.to_config()), Optimizer(optax.adam(RATE))
    batch = random_batch(method, workload)
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


def beside_pytorch(workload: Sized, forms: Sequence[Form], made: Callable[[Form, Any, Any], Contestant]) -> list[Contestant]:
    """The step of the package, then one in each form of PyTorch.

    made: the contestant of a form, from the variables that ours starts from and the images that it sees: a tensor of batch x
    channels x height x width in [0, 1] on the device to be measured.
    """
    ours, variables = package_step(workload)
    if not forms:
        return [ours]
    import torch

    device = 'cuda' if jax.default_backend() == 'gpu' else 'cpu'
    image = torch.tensor(random_images(workload), device=device).permute(0, 3, 1, 2).float() / 255
    return [ours, *(made(form, variables, image) for form in forms)]
