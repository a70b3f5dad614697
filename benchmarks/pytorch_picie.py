"""An epoch of PiCIE in PyTorch, as its released code has it (Cho et al. 2021): what benchmarks compare with.

The epoch has five passes over the batches: k-means of each view, with the network in training as in that code, so that its
running statistics move; labels of each view, with the network in evaluation, which are kept; and training. tests/benchmarks/
test_pytorch_picie.py proves what follows from the labels equal to the package, with the paper's geometry, the scores 'dot' and
the balance 'frequency'. What would not be comparable is otherwise than in the released code:

- Views are given: there a loader makes them, beside the training. They are the same in every pass. Labels stay in memory.
- The maps of the second view are cut at fractions of cells, and in one call for all images instead of a loop over them.
- k-means is that of pytorch_k_means.py, in batches of the size of those of training, and may see some places of each image only.

Images and maps are (batch, channels, height, width). Sides of images are multiples of 32 pixels; others that code would stretch.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ar_seg_jax.methods.pseudo_labels import Search
from benchmarks import pytorch_k_means as k_means
from benchmarks import pytorch_step
from benchmarks.comparison import Form
from benchmarks.timing import Contestant

_STAGES = range(4)  # of the ResNet
_STRIDE = 4  # pixels, from one cell of the maps to the next
_FIRST = (_STRIDE - 1) / 2  # pixel at which the first cell is taken to be, as interpolation between levels takes it


class ResNet18(nn.Module):
    """The maps of the four stages, of `width` channels in the first one; parameters have the names they have in the package."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self._add_conv('stem', channels, width, 7, 2)
        before = width
        for stage in _STAGES:
            after = width << stage
            for block in range(2):
                name, stride = f'stage{stage}_block{block}', 2 if stage and not block else 1
                self._add_conv(f'{name}_0', before, after, 3, stride)
                self._add_conv(f'{name}_1', after, after, 3, 1)
                if before != after:
                    self._add_conv(f'{name}_shortcut', before, after, 1, stride)
                before = after

    def forward(self, image: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self._conv('stem', image)), 3, 2, 1)
        maps = []
        for stage in _STAGES:
            for block in range(2):
                name = f'stage{stage}_block{block}'
                residual = self._conv(f'{name}_1', F.relu(self._conv(f'{name}_0', x)))
                shortcut = self._conv(f'{name}_shortcut', x) if hasattr(self, f'{name}_shortcut_conv') else x
                x = F.relu(residual + shortcut)
            maps.append(x)
        return maps

    def _add_conv(self, name: str, before: int, after: int, size: int, stride: int):
        self.add_module(f'{name}_conv', nn.Conv2d(before, after, size, stride, size // 2, bias=False))
        self.add_module(f'{name}_norm', nn.BatchNorm2d(after))

    def _conv(self, name: str, x: Tensor) -> Tensor:
        return getattr(self, f'{name}_norm')(getattr(self, f'{name}_conv')(x))


class Network(nn.Module):
    """PiCIE's ResNet-18 of `base` channels in its first stage, and the pyramid of `width` channels on top of it."""

    def __init__(self, channels: int, base: int, width: int):
        super().__init__()
        self.resnet = ResNet18(channels, base)
        for stage in _STAGES:
            self.add_module(f'lateral_res{stage + 2}', nn.Conv2d(base << stage, width, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Features of stride 4."""
        *finer, x = (getattr(self, f'lateral_res{stage + 2}')(maps) for stage, maps in enumerate(self.resnet(image)))
        for lateral in reversed(finer):
            x = F.interpolate(x, lateral.shape[2:], mode='bilinear', align_corners=False) + lateral
        return x


class Part(NamedTuple):
    """Of each image: what its views show, in shares of its sides, and whether it is mirrored."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flipped: Tensor


class Batch(NamedTuple):
    """Two views of images as the network sees them: the part of each in the size of the whole, and the whole."""

    first: Tensor
    second: Tensor
    part: Part

    @classmethod
    def of(cls, seen: Sequence[ArrayLike], crops: Sequence[ArrayLike], device: str) -> 'Batch':
        """From what the package has: both views with channels last, and the fields of its Crop, which are those of `Part`."""
        first, second = (torch.tensor(np.asarray(view), device=device).permute(0, 3, 1, 2).contiguous() for view in seen)
        return cls(first, second, Part(*(torch.tensor(np.asarray(field), device=device) for field in crops)))


class Targets(NamedTuple):
    """What one view says: labels of the places of each batch, the centroids of its clusters, and the weights of these."""

    labels: Sequence[Tensor]
    centroids: Tensor
    weights: Tensor


def vectors(network: Network, batch: Batch, view: int) -> Tensor:
    """Of the first view (0) or the second one (1), of length 1 and of the same places."""
    maps = cut(network(batch.second), batch.part) if view else network(batch.first)
    return F.normalize(maps, dim=1)


def cut(maps: Tensor, part: Part) -> Tensor:
    """The parts of maps of whole images, in cells of the same size, where the package takes them to be (views.Views)."""
    height, width = maps.shape[2:]
    rows = _places(part.top, part.height, torch.zeros_like(part.flipped), height)[:, :, None]
    columns = _places(part.left, part.width, part.flipped, width)[:, None]
    grid = torch.stack(torch.broadcast_tensors(columns, rows), dim=-1)
    return F.grid_sample(maps, grid, mode='bilinear', padding_mode='border', align_corners=True)


def _places(start: Tensor, share: Tensor, flipped: Tensor, cells: int) -> Tensor:
    """Where the cells of the part are along one side of the whole, whose first cell is at -1 and whose last one is at 1."""
    side = _STRIDE * cells
    pixels = _FIRST + _STRIDE * torch.arange(cells, dtype=share.dtype, device=share.device)
    pixels = torch.where(flipped[:, None], side - 1 - pixels, pixels)
    inside = (pixels + 0.5) * share[:, None] + start[:, None] * side - 0.5
    return 2 * (inside - _FIRST) / (_STRIDE * (cells - 1)) - 1


def loss(network: Network, batch: Batch, labels: Sequence[Tensor], targets: Sequence[Targets]) -> Tensor:
    """A quarter of the cross-entropies of both views with the `labels` of both, weighted; in nats."""
    terms = []
    for view in range(2):
        seen = vectors(network, batch, view)
        for own, other in zip(labels, targets, strict=True):
            terms.append(F.cross_entropy(F.conv2d(seen, other.centroids[:, :, None, None]), own, other.weights))
    return sum(terms) / len(terms)


class Functions(NamedTuple):
    """What torch.compile is given, or makes of it: `vectors`, `loss` and `k_means.totals`."""

    vectors: Callable = vectors
    loss: Callable = loss
    totals: k_means.Totals = k_means.totals

    @classmethod
    def of(cls, form: Form) -> 'Functions':
        return cls(*(torch.compile(each, dynamic=False) for each in cls())) if form == 'compiled' else cls()


@torch.no_grad()
def clusters(network: Network, batches: Sequence[Batch], view: int, count: int, search: Search, functions: Functions) -> Tensor:
    """Centroids of a view: of the first batches, then moved by each of the others."""
    network.train()
    blocks = (drawn(functions.vectors(network, batch, view), search.vectors_of_image) for batch in batches)
    initial = torch.cat(list(itertools.islice(blocks, search.initial_batches)))
    found = k_means.find(initial, count, search.iterations, functions.totals)
    for block in blocks:
        found = k_means.update(found, block, functions.totals)
    return found.centroids


def drawn(maps: Tensor, count: int) -> Tensor:
    """So many places of each image, or all for 0: (places of all images, channels)."""
    places = maps.flatten(2).transpose(1, 2)
    if 0 < count < places.shape[1]:
        chosen = torch.rand(places.shape[:2], device=maps.device).argsort(1)[:, :count]
        places = places.take_along_dim(chosen[:, :, None], 1)
    return places.flatten(0, 1)


@torch.no_grad()
def label(network: Network, batches: Sequence[Batch], view: int, centroids: Tensor, functions: Functions) -> Targets:
    """Labels of all places of a view. Pixels count as the share of their cluster in all labels."""
    network.eval()
    labels = []
    for batch in batches:
        maps = functions.vectors(network, batch, view)
        found = k_means.nearest(drawn(maps, 0), centroids)
        labels.append(found.unflatten(0, (len(maps), *maps.shape[2:])))
    sizes = sum(torch.bincount(each.flatten(), minlength=len(centroids)) for each in labels)
    return Targets(labels, centroids, (sizes / sizes.sum()).to(centroids.dtype))


def refresh(network: Network, batches: Sequence[Batch], num_clusters: int, search: Search, functions: Functions) -> list[Targets]:
    """The passes before training: k-means of both views, then the labels of both."""
    found = [clusters(network, batches, view, num_clusters, search, functions) for view in range(2)]
    return [label(network, batches, view, centroids, functions) for view, centroids in enumerate(found)]


def train(
    network: Network, adam: torch.optim.Optimizer, batches: Sequence[Batch], targets: Sequence[Targets], functions: Functions
) -> list[Tensor]:
    """The training pass, a step for each batch; the losses before them."""
    network.train()
    losses = []
    for batch, *labels in zip(batches, *(each.labels for each in targets), strict=True):
        value = functions.loss(network, batch, labels, targets)
        pytorch_step.update(adam, value)
        losses.append(value.detach())
    return losses


def epoch(form: Form, network: Network, batches: Sequence[Batch], num_clusters: int, search: Search, rate: float) -> Contestant:
    """An epoch to be timed. 'compiled': torch.compile of `Functions`, in an epoch that has passed before."""
    start = time.perf_counter()
    functions, adam = Functions.of(form), torch.optim.Adam(network.parameters(), rate)

    def run():
        targets = refresh(network, batches, num_clusters, search, functions)
        train(network, adam, batches, targets, functions)
        if batches[0].first.is_cuda:
            torch.cuda.synchronize()

    run()
    return Contestant(f'PyTorch, {form}', run, {'preparation_seconds': time.perf_counter() - start})
