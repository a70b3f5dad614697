"""AST training in PyTorch, as its supplement describes it (Sauvalle and de La Fortelle): what benchmarks compare with.

It is the step of the joint stage, in which background and foreground are trained together. tests/benchmarks/test_pytorch_ast.py
proves outputs, loss and gradients equal to the package's. The attention and the appearance of a cell are one convolution here,
layers of the background, the generator and the networks are PyTorch's own, and a spatial transformer places glimpses.

Images and maps are (batch, channels, height, width), in [0, 1].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ar_seg_jax.models import background as package
from benchmarks import pytorch_reference as reference
from benchmarks import pytorch_segformer as segformer

_SMALLEST = 1e-20  # in a logarithm


class Unit(nn.Module):
    """A convolution without a bias, batch norm, and CELU."""

    def __init__(self, before: int, after: int, size: int = 3, stride: int = 1, conv: type[nn.Module] = nn.Conv2d):
        super().__init__()
        self.conv = conv(before, after, size, stride, (size - 1) // 2, bias=False)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        return F.celu(self.norm(self.conv(x)))


class Down(nn.Module):
    def __init__(self, before: int, after: int):
        super().__init__()
        self.strided, self.residual = Unit(before, after, 4, 2), Unit(after, after)

    def forward(self, x: Tensor) -> Tensor:
        x = self.strided(x)
        return x + self.residual(x)


class CompactUNet(nn.Module):
    """The package's compact network with a stride of 4; parameters have the names they have there."""

    def __init__(self, widths: Sequence[int], outputs: int):
        super().__init__()
        first, *others = widths
        self.down, self.up = range(1, len(widths)), range(len(widths) - 2, 0, -1)
        self.first = Unit(3, first, 4, 2)
        before = first
        for level, width in enumerate(others, start=1):
            self.add_module(f'down_{level}', Down(before, width))
            before = width
        self.centre = Unit(before, before)
        for level in self.up:
            width = widths[level]
            self.add_module(f'up_{level}', Unit(before, width, 4, 2, nn.ConvTranspose2d))
            self.add_module(f'joined_{level}', Unit(2 * width, width, 1))
            self.add_module(f'residual_{level}', Unit(width, width))
            before = width
        self.head = nn.Conv2d(before, outputs, 1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)
        maps = [x]
        for level in self.down:
            x = getattr(self, f'down_{level}')(x)
            maps.append(x)
        x = self.centre(x)
        for level in self.up:
            x = torch.cat([getattr(self, f'up_{level}')(x), maps[level]], 1)
            x = getattr(self, f'joined_{level}')(x)
            x = x + getattr(self, f'residual_{level}')(x)
        return self.head(x)


class SlotTransformer(nn.Module):
    def __init__(self, latents: int, width: int, depth: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.embed, self.project = nn.Linear(latents, width), nn.Linear(width, latents)
        layer = nn.TransformerEncoderLayer(width, heads, feedforward, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def forward(self, latents: Tensor) -> Tensor:
        return self.project(self.encoder(self.embed(latents)))


class GlimpseGenerator(nn.Sequential):
    """(slots, channels, 1, 1) to glimpses of `size` x `size` pixels: RGB and mask."""

    def __init__(self, channels: int, size: int):
        super().__init__()
        doublings, before = size.bit_length() - 1, channels
        for index in range(doublings - 1):
            width = 8 << (doublings - 2 - index)
            shape = (4, 2, 1) if index else (2, 1, 0)
            self.add_module(f'conv_{index}', nn.ConvTranspose2d(before, width, *shape, bias=False))
            self.add_module(f'norm_{index}', group_norm(width))
            self.add_module(f'celu_{index}', nn.CELU())
            before = width
        self.add_module('last', nn.ConvTranspose2d(before, 4, 4, 2, 1))
        self.add_module('sigmoid', nn.Sigmoid())


class Autoencoder(nn.Module):
    """AE-NE: images to backgrounds and, in a fourth channel, the errors to expect. encoder, generator: channels of the layers."""

    def __init__(self, encoder: Sequence[int], generator: Sequence[int]):
        super().__init__()
        self.depth, strided, before = len(encoder), len(encoder) - 2, 3
        for index, (width, shape) in enumerate(zip(encoder, [(5, 2, 2)] * strided + [(4, 2, 1), (2, 1, 0)], strict=True)):
            self.add_module(f'encoder_{index}', nn.Conv2d(before + 2, width, *shape, bias=False))
            self.add_module(f'encoder_norm_{index}', group_norm(width))
            before = width
        shapes = [(2, 1, 0, 0), (4, 2, 1, 0)] + [(5, 2, 2, 1)] * strided
        for index, (width, shape) in enumerate(zip(generator, shapes, strict=True)):
            self.add_module(f'generator_{index}', nn.ConvTranspose2d(before + 2, width, *shape, bias=False))
            if index < self.depth - 1:
                self.add_module(f'generator_norm_{index}', group_norm(width))
            before = width

    def forward(self, image: Tensor) -> Tensor:
        x = 255 * image
        for index in range(self.depth):
            x = getattr(self, f'encoder_{index}')(with_places(x))
            x = F.celu(getattr(self, f'encoder_norm_{index}')(x))
        for index in range(self.depth):
            x = getattr(self, f'generator_{index}')(with_places(x))
            if index < self.depth - 1:
                x = F.celu(getattr(self, f'generator_norm_{index}')(x))
        return x.sigmoid()


class LearnedImage(nn.Module):
    """One background for all images, also with a fourth channel."""

    def __init__(self, size: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(4, size, size))

    def forward(self, image: Tensor) -> Tensor:
        return self.logits.sigmoid().expand(len(image), -1, -1, -1)


class Scene(nn.Module):
    """Images to their reconstruction and to the weights of background and slots; from `model` and `method` of a config."""

    def __init__(self, model: Mapping[str, Any], method: Mapping[str, Any]):
        super().__init__()
        self.num_slots, self.scales = method['num_clusters'] - 1, method['scales']
        self.smallest, self.largest = method['smallest_scale'], method['largest_scale']
        latents = 2 + self.scales + 1 + method['width']
        outputs = self.num_slots + latents - 2
        if model['name'] == 'segformer':
            self.network = segformer.SegFormer(model['variant'], model['dropout'], model['drop_path'], outputs)
        else:
            self.network = CompactUNet(model['widths'], outputs)
        sizes = (method[f'transformer_{name}'] for name in ('width', 'depth', 'heads', 'feedforward'))
        self.slots = SlotTransformer(latents, *sizes, method['dropout'])
        self.glimpses = GlimpseGenerator(method['width'], method['glimpse_size'])
        if method['background'] == 'image':
            self.background = LearnedImage(method['image_size'])
        else:
            sizes = package.background(method['background'], (method['image_size'],) * 2, 'float32')
            self.background = Autoencoder(sizes.encoder, sizes.generator)
        self.background_activation = nn.Parameter(torch.tensor(method['background_activation']))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.network(image)
        latents = self.slots(soft_argmax(maps[:, : self.num_slots], maps[:, self.num_slots :]))
        centre, logits, activation, appearance = latents.split([2, self.scales, 1, latents.shape[2] - self.scales - 3], 2)
        scale = self.smallest + (self.largest - self.smallest) * logits.sigmoid()
        glimpses = self.glimpses(appearance.flatten(0, 1)[:, :, None, None])
        placed = place(glimpses, centre.clamp(-1, 1).flatten(0, 1), scale.expand_as(centre).flatten(0, 1), image.shape[2:])
        placed = placed.unflatten(0, (len(image), self.num_slots))
        layers = torch.cat([self.background(image)[:, None, :3], placed[:, :, :3]], 1)
        masks = torch.cat([torch.ones_like(placed[:, :1, 3]), placed[:, :, 3]], 1)
        activation = torch.cat([self.background_activation.expand(len(image), 1), activation[:, :, 0]], 1)
        weights = activation.exp()[:, :, None, None] * masks
        weights = weights / weights.sum(1, keepdim=True)
        return (weights[:, :, None] * layers).sum(1), weights


def group_norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, width // 16), width)


def with_places(x: Tensor) -> Tensor:
    """Two more channels: row and column in [-0.5, 0.5], or 1 on maps of one cell."""
    ends = (-0.5, 0.5) if x.shape[2] > 1 else (1, 1)
    rows, columns = (torch.linspace(*ends, side, dtype=x.dtype, device=x.device) for side in x.shape[2:])
    places = torch.stack(torch.meshgrid(rows, columns, indexing='ij'))
    return torch.cat([x, places.expand(len(x), -1, -1, -1)], 1)


def soft_argmax(logits: Tensor, maps: Tensor) -> Tensor:
    """The mean of (x, y, maps) that the attention of each slot gives; -1 and 1 are the centres of border cells."""
    rows, columns = (torch.linspace(-1, 1, side, dtype=maps.dtype, device=maps.device) for side in maps.shape[2:])
    places = torch.stack(torch.meshgrid(columns, rows, indexing='xy'))
    values = torch.cat([places.expand(len(maps), -1, -1, -1), maps], 1)
    return logits.flatten(2).softmax(2) @ values.flatten(2).transpose(1, 2)


def place(glimpses: Tensor, centre: Tensor, scale: Tensor, size: Sequence[int]) -> Tensor:
    """A spatial transformer: glimpses (slots, 4, rows, columns) where they are in images of a size, with zeros around them."""
    theta = torch.cat([torch.diag_embed(scale), (-scale * centre)[:, :, None]], 2)
    grid = F.affine_grid(theta, [len(glimpses), 4, *size], align_corners=False)
    return F.grid_sample(glimpses, grid, align_corners=False)


def loss(scene: Scene, image: Tensor, entropy_weight: float) -> Tensor:
    """The error of the reconstruction, and the entropy of the pixels with the weight that it has at the end of its growth."""
    found, weights = scene(image)
    reconstruction = ((found - image).abs().sum(1) ** 2).mean()
    entropy = ((weights * (weights + _SMALLEST).log()).sum(1) ** 2).mean()
    return reconstruction + entropy_weight * entropy


def arranged(params: Mapping[str, Any]) -> dict[str, Any]:
    """The package's parameters (or their gradients) with the names of a scene and as the arrays that it has.

    Arrays named kernel are still in the package's layout.
    """
    network, slots, background = dict(params['network']), params['slots'], params['background']
    heads = network.pop('attention'), network.pop('appearance')
    network['head'] = jax.tree.map(lambda *leaves: np.concatenate(leaves, -1), *heads)
    if 'decode_head' in network:
        network = segformer.arranged(network)
    if 'logits' in background:
        background = {'logits': np.moveaxis(np.asarray(background['logits']), -1, 0)}
    layers = {str(index): _layer(slots['layers'], index) for index in range(len(slots['layers']['inner']['bias']))}
    return {
        'network': network,
        'slots': {'embed': slots['embed'], 'encoder': {'layers': layers}, 'project': slots['project']},
        'glimpses': params['glimpses'],
        'background': background,
        'background_activation': params['background_activation']['logit'],
    }


def _layer(layers: Mapping[str, Any], index: int) -> dict[str, Any]:
    """One of the layers that are stacked in the package, where queries, keys and values have maps of their own."""
    layer = jax.tree.map(lambda leaf: np.asarray(leaf[index]), dict(layers))
    attention, width = layer['attention'], layer['outer']['bias'].size
    inputs = [attention[name] for name in ('query', 'key', 'value')]
    return {
        'self_attn': {
            'in_proj_weight': np.concatenate([each['kernel'].reshape(width, width).T for each in inputs]),
            'in_proj_bias': np.concatenate([each['bias'].reshape(width) for each in inputs]),
            'out_proj': {**attention['out'], 'kernel': attention['out']['kernel'].reshape(width, width)},
        },
        'norm1': layer['attention_norm'],
        'linear1': layer['inner'],
        'linear2': layer['outer'],
        'norm2': layer['feedforward_norm'],
    }


def load(scene: Scene, params: Mapping[str, Any], batch_stats: Mapping[str, Any]):
    """See `pytorch_reference.load`."""
    reference.load(scene, arranged(params), batch_stats)
