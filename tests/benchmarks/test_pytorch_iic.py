"""The PyTorch IIC of the benchmarks trains as the package does. Both compute in float64, see test_pytorch_reference.py."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ar_seg_jax import build
from ar_seg_jax.epochs import Epochs
from ar_seg_jax.training.optimizer import Optimizer
from ar_seg_jax.training.state import TrainState
from ar_seg_jax.training.step import make_train_step
from benchmarks.iic_step import Workload
from tests.support import tiny

torch = pytest.importorskip('torch', reason='PyTorch, which only benchmarks need, is not installed')
iic = importlib.import_module('benchmarks.pytorch_iic')
pytorch_step = importlib.import_module('benchmarks.pytorch_step')
reference = importlib.import_module('benchmarks.pytorch_reference')
torch.set_num_threads(1)  # on tiny maps more of them wait for each other

WORKLOAD = Workload(batch=3, side=16, width=2, clusters=3, auxiliary=5, displacement=2, dtype='float64')
HEADS = ('auxiliary_decoder_0', 'decoder_0')

pytestmark = pytest.mark.usefixtures('float64')


@pytest.mark.parametrize('flip', [0.0, 1.0])
def test_training_steps_have_the_same_losses(flip):
    """Four of them, the heads in turn: every batch is an epoch."""
    config = WORKLOAD.to_config()
    config['method'] |= {'brightness': 0.0, 'contrast': 0.0, 'saturation': 0.0, 'hue': 0.0, 'flip': flip}
    method, tx, zero = build.method(config), optax.adam(1e-3), jnp.zeros((), int)
    image = jnp.asarray(tiny.random_batch(WORKLOAD.batch)['image'])
    variables = jax.tree.map(jnp.float64, method.init(jax.random.key(0), image))
    params, extra = variables
    state = TrainState(zero, params, extra, tx.init(params), jax.random.key(0), zero, zero)
    epochs = Epochs(WORKLOAD.batch, WORKLOAD.batch)
    step = jax.jit(make_train_step(method, Optimizer(tx), epochs=epochs), compiler_options=tiny.QUICK)

    other = iic.Network(3, WORKLOAD.width, {'decoder_0': 3, 'auxiliary_decoder_0': 5}).double()
    reference.load(other, params, extra['batch_stats'])
    adam = torch.optim.Adam(other.parameters(), 1e-3)
    for parameter in other.parameters():  # PyTorch's Adam counts the steps of a weight from its first gradient on
        parameter.grad = torch.zeros_like(parameter)
    plain = torch.tensor(np.asarray(image)).permute(0, 3, 1, 2).double() / 255
    flipped = torch.full((WORKLOAD.batch,), bool(flip))
    changed = plain.flip(3) if flip else plain
    for head in 2 * HEADS:
        state, metrics, _ = step(state, {'image': image})
        loss = iic.loss(other, plain, changed, flipped, head, WORKLOAD.displacement)
        pytorch_step.update(adam, loss, zeros=True)
        assert loss.item() == pytest.approx(metrics['loss'].item(), rel=1e-6)
