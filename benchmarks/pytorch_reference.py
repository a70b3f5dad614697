"""AC training in PyTorch, as the paper's supplement and the reproduction report describe it: what benchmarks compare with.

It is proved equal to the package by tests/benchmarks/test_pytorch_reference.py. Where the description would not be comparable it
is mended:

- Each view has a dummy convolution of its own. In the supplement both views share one, whose weights the second view
  overwrites before the backward pass of the first, and a tap that either view masks loses its gradient in both.
- Attention leaves later positions out of the softmax (-inf) and scales scores by 1/sqrt(depth). As printed, some of the
  supplement's masks are wrong; here they are made from ranks, and kept, where the supplement's cache never finds one again.
- The loss is IIC's with entropy weight 1, but clamps probabilities in the logarithm alone.

Images and maps are (batch, channels, height, width); an ordering is its name in the package, a masked corner and a shift.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from flax import traverse_util
from torch import Tensor, nn

ORDERINGS = ('A1', 'A2', 'B4', 'B1', 'C3', 'C2', 'D3', 'D4')
Masking = Literal['dummy', 'product']
Attention = Literal['none', 'explicit', 'fused']
Joint = Literal['convolution', 'box']

_MASKED_TAP = {'A': (2, 2), 'B': (2, 0), 'C': (0, 2), 'D': (0, 0)}
_PADDING = {'1': (1, 1, 2, 0), '2': (2, 0, 1, 1), '3': (1, 1, 0, 2), '4': (0, 2, 1, 1)}  # left, right, top, bottom
_SMALLEST = 1e-10  # in a logarithm


class MaskedConv(nn.Conv2d):
    """3x3 convolution whose padding shifts it into the past of an ordering and whose one masked tap hides what is left.

    'dummy' copies the weights, masks the copy and convolves with it; `switch_gradients` brings the gradients back after the
    backward pass. 'product' multiplies the weights by the mask and leaves the gradients to autograd.
    """

    def __init__(self, inputs: int, outputs: int, masking: Masking):
        super().__init__(inputs, outputs, 3)
        self.masking = masking
        self._dummies: list[tuple[Tensor, str]] = []

    def forward(self, x: Tensor, ordering: str) -> Tensor:
        corner, shift = ordering
        x = F.pad(x, _PADDING[shift])
        if self.masking == 'product':
            return F.conv2d(x, self.weight * self._mask(corner), self.bias)
        dummy = _masked(self.weight.detach().clone(), corner).requires_grad_()
        self._dummies.append((dummy, corner))
        return F.conv2d(x, dummy, self.bias)

    def switch_gradients(self):
        """Moves the gradients of all passes since the last call to the weights. To be called before the optimizer's step."""
        if self._dummies:
            self.weight.grad = sum(_masked(dummy.grad, corner) for dummy, corner in self._dummies)
            self._dummies.clear()

    def _mask(self, corner: str) -> Tensor:
        return _masked(torch.ones((3, 3), dtype=self.weight.dtype, device=self.weight.device), corner)


def _masked(weight: Tensor, corner: str) -> Tensor:
    """`weight` itself, its masked tap now zero."""
    row, column = _MASKED_TAP[corner]
    weight[..., row, column] = 0
    return weight


class ResidualBlock(nn.Module):
    """From C to 2C channels (supplement, Table 4)."""

    def __init__(self, inputs: int, masking: Masking):
        super().__init__()
        self.conv_0 = MaskedConv(inputs, 2 * inputs, masking)
        for index in range(1, 6):
            self.add_module(f'conv_{index}', nn.Conv2d(2 * inputs, 2 * inputs, 1))

    def forward(self, x: Tensor, ordering: str) -> Tensor:
        shortcut = F.pad(x, (0, 0, 0, 0, 0, x.shape[1]))
        x = F.relu(self.conv_1(F.relu(self.conv_0(x, ordering)))) + shortcut
        x = F.relu(self.conv_3(F.relu(self.conv_2(x)))) + x
        return F.relu(self.conv_5(F.relu(self.conv_4(x)))) + x


class MaskedAttention(nn.Module):
    """One head of C/2 channels, projected to C, concatenated with the input and merged to C (the report's parameter counts).

    'explicit' masks a matrix of all scores. 'fused' puts positions in the order of their visit and leaves plain causal
    attention to PyTorch, which has fused kernels for that alone.
    """

    def __init__(self, channels: int, form: Attention):
        super().__init__()
        self.form = form
        for name in ('query', 'key', 'value'):
            self.add_module(name, nn.Conv2d(channels, channels // 2, 1))
        self.output = nn.Conv2d(channels // 2, channels, 1)
        self.merge = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor, ordering: str) -> Tensor:
        height, width = x.shape[2:]
        query, key, value = (project(x).flatten(2).transpose(1, 2) for project in (self.query, self.key, self.value))
        ranks = visiting_ranks(ordering, height, width, x.device)
        if self.form == 'fused':
            query, key, value = (tokens[:, None, ranks.argsort()] for tokens in (query, key, value))
            attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)[:, 0, ranks]
        else:
            scores = query @ key.transpose(1, 2) * query.shape[-1] ** -0.5
            scores = scores.masked_fill(_later(ordering, height, width, x.device), -torch.inf)
            attended = scores.softmax(-1) @ value
        attended = attended.transpose(1, 2).unflatten(2, (height, width))
        return self.merge(torch.cat([x, self.output(attended)], 1))


def visiting_ranks(ordering: str, height: int, width: int, device=None) -> Tensor:
    """When each position of a map, row by row, is visited, from 0."""
    corner, shift = ordering
    down, right = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)[None]
    down = height - 1 - down if corner in 'CD' else down
    right = width - 1 - right if corner in 'BD' else right
    return (down * width + right if shift in '13' else right * height + down).flatten()


@functools.cache
def _later(ordering: str, height: int, width: int, device: torch.device) -> Tensor:
    ranks = visiting_ranks(ordering, height, width, device)
    return ranks[None] > ranks[:, None]


class Autoregressive(nn.Module):
    """Ordinary stem, masked residual blocks, attention after the second (the paper's networks of Table 5 and the report's).

    Parameters have the names they have in the package. Dropout, which no published configuration uses, is left out.
    """

    def __init__(
        self,
        channels: int,
        num_clusters: int,
        blocks: int,
        output_stride: int,
        attention: Attention = 'none',
        masking: Masking = 'dummy',
    ):
        super().__init__()
        self.stride = output_stride
        self.stem = nn.Sequential()
        self.stem.add_module('conv', nn.Conv2d(channels, 64, 3, output_stride // 2, 1))
        self.stem.add_module('norm', nn.BatchNorm2d(64))
        self.stem.add_module('rest', nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, 1)))
        self.names = [f'block_{index}' for index in range(blocks)]
        for index, name in enumerate(self.names):
            self.add_module(name, ResidualBlock(64 << index, masking))
        if attention != 'none':
            self.attention = MaskedAttention(256, attention)
            self.names.insert(2, 'attention')
        self.decoder = nn.Conv2d(64 << blocks, num_clusters, 1)

    def forward(self, image: Tensor, views: Sequence[str], share_stem: bool = False) -> list[Tensor]:
        """Cluster probabilities of images in [0, 1] in each view. The paper's code runs the stem once in each view as well."""
        if share_stem:
            encoded = self.stem(image)
            return [self.view(encoded, ordering, image.shape) for ordering in views]
        return [self.view(self.stem(image), ordering, image.shape) for ordering in views]

    def view(self, x: Tensor, ordering: str, shape: torch.Size) -> Tensor:
        for name in self.names:
            x = getattr(self, name)(x, ordering)
        logits = F.interpolate(self.decoder(x), scale_factor=self.stride, mode='bilinear', align_corners=False)
        return logits[..., : shape[2], : shape[3]].softmax(1)

    def switch_gradients(self):
        for module in self.modules():
            if isinstance(module, MaskedConv):
                module.switch_gradients()


def train_step(
    model: Autoregressive, optimizer: torch.optim.Optimizer, image: Tensor, views: Sequence[str], displacement: int
) -> Tensor:
    """One update, as the paper has it; the loss before it."""
    loss = information_loss(*model(image, views), displacement)
    update(model, optimizer, loss)
    return loss.detach()


def update(model: Autoregressive, optimizer: torch.optim.Optimizer, loss: Tensor):
    """Takes the gradients of a loss and moves the parameters."""
    optimizer.zero_grad()
    loss.backward()
    model.switch_gradients()
    optimizer.step()


def information_loss(p: Tensor, q: Tensor, displacement: int, collapsed: bool = True, joint: Joint = 'convolution') -> Tensor:
    """Negative mutual information of two maps of probabilities over displacements up to `displacement` rows and columns.

    'convolution' is IIC's: p is the image and q the kernel of one convolution, of which each output is the joint of one
    displacement. 'box', for collapsed joints alone, averages q over the window first and takes one product.
    """
    if joint == 'box':
        averaged = F.avg_pool2d(q, 2 * displacement + 1, 1, displacement)
        joints = torch.einsum('bkij,blij->kl', p, averaged)[..., None]
    else:
        joints = F.conv2d(p.transpose(0, 1), q.transpose(0, 1), padding=displacement).flatten(2)
        joints = joints.sum(2, keepdim=True) if collapsed else joints
    joints = joints / joints.sum((0, 1))
    joints = (joints + joints.transpose(0, 1)) / 2
    rows, columns, both = (-(x * x.clamp_min(_SMALLEST).log()) for x in (joints.sum(1), joints.sum(0), joints))
    return (both.sum((0, 1)) - rows.sum(0) - columns.sum(0)).mean()


def as_torch(variables: Mapping[str, Any]) -> dict[str, Tensor]:
    """A tree of the package (parameters, batch statistics or gradients) under PyTorch's names and in its layout."""
    names = {'kernel': 'weight', 'scale': 'weight', 'mean': 'running_mean', 'var': 'running_var'}
    state = {}
    for (*path, name), leaf in traverse_util.flatten_dict(variables).items():
        array = np.asarray(leaf)
        if name == 'kernel':
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T[:, :, None, None]
        state['.'.join((*path, names.get(name, name)))] = torch.tensor(array)
    return state


def in_layout_of(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `as_torch` gives, with the weights of the model's linear layers and transposed convolutions as these have them."""
    state = dict(state)
    for name, module in model.named_modules():
        weight = f'{name}.weight'
        if isinstance(module, nn.Linear):
            state[weight] = state[weight].flatten(1)
        elif isinstance(module, nn.ConvTranspose2d):
            state[weight] = state[weight].transpose(0, 1)
    return state


def load(model: nn.Module, params: Mapping[str, Any], batch_stats: Mapping[str, Any]):
    """Copies the package's parameters and batch statistics into the model; RuntimeError unless each has its place."""
    norms = (name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d))
    counts = {f'{name}.num_batches_tracked': torch.tensor(0) for name in norms}  # the package does not count them
    model.load_state_dict(in_layout_of(model, as_torch(params)) | as_torch(batch_stats) | counts)
