"""A training step in PyTorch, to be timed."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.comparison import Form
from benchmarks.timing import Contestant


def update(optimizer: torch.optim.Optimizer, loss: Tensor, zeros: bool = False):
    """Takes the gradients of a loss and moves the parameters.

    zeros: parameters that the loss does not depend on have gradients of zero, with which Adam's momentum moves them on; else they
    stay.
    """
    optimizer.zero_grad(set_to_none=not zeros)
    loss.backward()
    optimizer.step()


def contestant(
    form: Form,
    loss: Callable[..., Tensor],
    network: nn.Module,
    turns: Sequence[Sequence[Any]],
    rate: float,
    zeros: bool = False,
) -> Contestant:
    """Steps of Adam on the loss of the network and of what comes after it in its arguments: those of `turns`, one after another.

    'compiled': what torch.compile makes of the loss. Each turn has had a step, in which it is compiled, before anything is timed.
    zeros: see `update`.
    """
    start = time.perf_counter()
    loss_of = torch.compile(loss, dynamic=False) if form == 'compiled' else loss
    adam, arguments = torch.optim.Adam(network.parameters(), rate), itertools.cycle(turns)
    on_gpu = next(network.parameters()).is_cuda

    def run():
        update(adam, loss_of(network, *next(arguments)), zeros)
        if on_gpu:
            torch.cuda.synchronize()

    for _ in turns:
        run()
    return Contestant(f'PyTorch, {form}', run, {'preparation_seconds': time.perf_counter() - start})
