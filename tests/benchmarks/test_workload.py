"""The arithmetic of a training step, counted by hand, against what XLA counts in the program."""

import jax
import jax.numpy as jnp
import optax
import pytest

from ar_seg_jax import build
from ar_seg_jax.epochs import Epochs
from ar_seg_jax.training.optimizer import Optimizer
from ar_seg_jax.training.state import create_state
from ar_seg_jax.training.step import make_train_step
from benchmarks.workload import Workload


@pytest.mark.parametrize(
    'workload',
    [
        Workload(batch=2, side=64, blocks=2, displacement=2),
        Workload(batch=2, side=48, blocks=3, stride=2, displacement=2),
        Workload(side=32, blocks=2, attention=True, displacement=2),
    ],
    ids=lambda workload: workload.name,
)
def test_the_program_has_little_more_arithmetic_than_is_counted(workload):
    method, tx = build.method(workload.to_config()), optax.adam(1e-3)
    image = jax.ShapeDtypeStruct((workload.batch, workload.side, workload.side, workload.channels), jnp.uint8)
    state = jax.eval_shape(lambda: create_state(method, tx, 0, jnp.zeros(image.shape, image.dtype)))
    program = jax.jit(make_train_step(method, Optimizer(tx), epochs=Epochs(2, 2))).lower(state, {'image': image})
    assert 1 <= program.cost_analysis()['flops'] / workload.flop < 1.05
