"""PyTorch's AC loss and its attention, forward and backward, to be timed."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import pytorch_reference as reference
from benchmarks.timing import Contestant


def information_loss(scores: Sequence[np.ndarray], displacement: int, joint: reference.Joint, device: str) -> Contestant:
    """The loss of two maps (batch, height, width, clusters) and its gradients by both."""
    maps = [torch.tensor(each, device=device).permute(0, 3, 1, 2).contiguous().requires_grad_() for each in scores]
    run = _with_gradients(lambda p, q: reference.information_loss(p, q, displacement, joint=joint), maps)
    return Contestant(f'PyTorch, {joint}', run)


def attention(views: Sequence[Sequence[np.ndarray]], cotangent: np.ndarray, dtype: str, device: str) -> Contestant:
    """Causal attention of some views' query, key and value (batch, tokens, heads, depth), by PyTorch's own function."""

    def tensor(array):
        return torch.tensor(array, device=device, dtype=getattr(torch, dtype)).transpose(1, 2).contiguous()

    inputs, weights = [tensor(each).requires_grad_() for view in views for each in view], tensor(cotangent)

    def attend(*inputs):
        attended = (F.scaled_dot_product_attention(*inputs[i : i + 3], is_causal=True) for i in range(0, len(inputs), 3))
        return sum((view * weights).sum() for view in attended)

    return Contestant('PyTorch', _with_gradients(attend, inputs))


def _with_gradients(scalar: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Callable[[], Sequence[Tensor]]:
    """A function that returns the gradients of `scalar` by all its inputs, when they are there."""

    def run():
        gradients = torch.autograd.grad(scalar(*inputs), inputs)
        if gradients[0].is_cuda:
            torch.cuda.synchronize()
        return gradients

    return run
