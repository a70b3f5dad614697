"""SegFormer in PyTorch, as its paper and Hugging Face's program describe it (Xie et al. 2021): a network of pytorch_ast.py.

Parameters have the names they have in the package, but for those that `arranged` brings together. Tokens are (batch, places,
channels), maps (batch, channels, height, width).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ar_seg_jax.models.segformer import FORMS

_ATTENTION_HEADS = (1, 2, 5, 8)  # of each stage
_REDUCTIONS = (8, 4, 2, 1)
_EXPANSION = 4


class Block(nn.Module):
    """Attention to windows of `reduction` x `reduction` cells, and a feed-forward network, each added to what it reads."""

    def __init__(self, width: int, heads: int, reduction: int, drop_path: float):
        super().__init__()
        self.heads, self.drop_path = heads, drop_path
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        for name in ('query', 'key', 'value', 'output'):
            self.add_module(f'attention_{name}', nn.Linear(width, width))
        if reduction > 1:
            self.attention_reduction = nn.Conv2d(width, width, reduction, reduction)
            self.attention_reduction_norm = nn.LayerNorm(width)
        inner = _EXPANSION * width
        self.mlp_0, self.mlp_1 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.mlp_conv = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        x = x + self._kept(self._attended(self.attention_norm(x), height, width))
        hidden = as_maps(self.mlp_0(self.mlp_norm(x)), height, width)
        return x + self._kept(self.mlp_1(F.gelu(as_tokens(self.mlp_conv(hidden)))))

    def _attended(self, x: Tensor, height: int, width: int) -> Tensor:
        windows = x
        if hasattr(self, 'attention_reduction'):
            windows = self.attention_reduction_norm(as_tokens(self.attention_reduction(as_maps(x, height, width))))
        projected = (self.attention_query(x), self.attention_key(windows), self.attention_value(windows))
        query, key, value = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in projected)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.attention_output(attended.transpose(1, 2).flatten(2))

    def _kept(self, branch: Tensor) -> Tensor:
        if not (self.training and self.drop_path):
            return branch
        kept = 1 - self.drop_path
        return branch * branch.new_empty(len(branch), 1, 1).bernoulli_(kept) / kept


class Encoder(nn.Module):
    """The Mix Transformer: maps of its stages, the finest first."""

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...], drop_path: float):
        super().__init__()
        self.depths = depths
        rates, before = iter(np.linspace(0, drop_path, sum(depths)).tolist()), 3
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            size, stride = (3, 2) if stage else (7, 4)
            self.add_module(f'stage{stage}_embedding', nn.Conv2d(before, width, size, stride, size // 2))
            self.add_module(f'stage{stage}_embedding_norm', nn.LayerNorm(width))
            for index in range(depth):
                block = Block(width, _ATTENTION_HEADS[stage], _REDUCTIONS[stage], next(rates))
                self.add_module(f'stage{stage}_block{index}', block)
            self.add_module(f'stage{stage}_norm', nn.LayerNorm(width))
            before = width

    def forward(self, image: Tensor) -> list[Tensor]:
        x, maps = image, []
        for stage, depth in enumerate(self.depths):
            x = getattr(self, f'stage{stage}_embedding')(x)
            height, width = x.shape[2:]
            x = getattr(self, f'stage{stage}_embedding_norm')(as_tokens(x))
            for index in range(depth):
                x = getattr(self, f'stage{stage}_block{index}')(x, height, width)
            x = as_maps(getattr(self, f'stage{stage}_norm')(x), height, width)
            maps.append(x)
        return maps


class Decoder(nn.Module):
    """The decode head up to its classifier: a linear map of each stage, all in the cells of the first, and one of all of them."""

    def __init__(self, widths: tuple[int, ...], width: int):
        super().__init__()
        for stage, before in enumerate(widths):
            self.add_module(f'stage{stage}', nn.Conv2d(before, width, 1))
        self.fuse = nn.Conv2d(len(widths) * width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, stages: list[Tensor]) -> Tensor:
        size = stages[0].shape[2:]
        projected = [getattr(self, f'stage{stage}')(x) for stage, x in enumerate(stages)]
        finest = [F.interpolate(x, size, mode='bilinear', align_corners=False) for x in reversed(projected)]
        return F.relu(self.norm(self.fuse(torch.cat(finest, 1))))


class SegFormer(nn.Module):
    """Encoder, decode head and classifier. dropout, drop_path: as in the package."""

    def __init__(self, variant: str, dropout: float, drop_path: float, outputs: int):
        super().__init__()
        form = FORMS[variant]
        self.encoder = Encoder(form.widths, form.depths, drop_path)
        self.decode_head = Decoder(form.widths, form.decoder_width)
        self.dropped = nn.Dropout(dropout)
        self.head = nn.Conv2d(form.decoder_width, outputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.dropped(self.decode_head(self.encoder(image))))


def as_maps(tokens: Tensor, height: int, width: int) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, (height, width))


def as_tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


def arranged(network: Mapping[str, Any]) -> dict[str, Any]:
    """The package's parameters (or their gradients), with one map of all stages, which it has in parts; the last stage first."""
    head = dict(network['decode_head'])
    stages = sorted((name for name in head if name.startswith('fuse_')), reverse=True)
    kernels = [head.pop(name)['kernel'] for name in stages]
    return {**network, 'decode_head': {**head, 'fuse': {'kernel': np.concatenate(kernels)}}}
