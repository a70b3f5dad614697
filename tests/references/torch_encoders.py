"""What torch computes with the networks whose published weights are read; makes torch_encoders.npz.

    python -m tests.references.torch_encoders [vit_tiny_patch16.safetensors]

Needs torch, and safetensors for the real file. Weights and images are those of `tests.support.published`, so that only
activations are stored. The networks are written from the papers, with the names that torchvision, DINO, DINOv2 and
Hugging Face's SegFormer give to their parts.
"""

import itertools
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.support import published
from tests.support.published import (
    DECODE_HEAD,
    EVERY,
    MIT,
    MIT_IMAGES,
    REAL_IMAGES,
    RESNET_IMAGES,
    RESNET_WIDTH,
    VIT,
    VIT_HEADS,
    VIT_IMAGES,
    VIT_KINDS,
)

PATH = Path(__file__).with_suffix('.npz')


class BasicBlock(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(residual + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """Gives the maps after each stage."""

    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        for stage, (before, after) in enumerate(itertools.pairwise(widths), start=1):
            blocks = BasicBlock(before, after, 1 if stage == 1 else 2), BasicBlock(after, after, 1)
            self.add_module(f'layer{stage}', nn.Sequential(*blocks))
        self.fc = nn.Linear(widths[-1], 1000)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        query, key, value = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5).softmax(-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(batch, tokens, width))


class LayerScale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.gamma * x


class Block(nn.Module):
    def __init__(self, width, heads, layer_scale):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.mlp = nn.ModuleDict({'fc1': nn.Linear(width, 4 * width), 'fc2': nn.Linear(4 * width, width)})
        if layer_scale:
            self.ls1, self.ls2 = LayerScale(width), LayerScale(width)
        else:
            self.ls1 = self.ls2 = nn.Identity()

    def forward(self, x):
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp['fc2'](F.gelu(self.mlp['fc1'](self.norm2(x)))))


class ViT(nn.Module):
    """Gives the normalised patch tokens as a map, channels last."""

    def __init__(self, width, depth, patch, grid, heads, layer_scale=False, registers=0):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, width))
        self.patch_embed = nn.ModuleDict({'proj': nn.Conv2d(3, width, patch, patch)})
        self.blocks = nn.ModuleList([Block(width, heads, layer_scale) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        if layer_scale:
            self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.grid, self.registers = grid, registers
        if registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, width))

    def position(self, height, width):
        """DINO and DINOv2 scale by the number of cells and 0.1; with registers, antialiased and to just that number."""
        native = self.pos_embed[:, 1:].reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        if (height, width) == (self.grid, self.grid):
            return native
        if self.registers:
            return F.interpolate(native, size=(height, width), mode='bicubic', antialias=True)
        factors = ((height + 0.1) / self.grid, (width + 0.1) / self.grid)
        return F.interpolate(native, scale_factor=factors, mode='bicubic')

    def forward(self, x):
        maps = self.patch_embed['proj'](x)
        maps = maps + self.position(*maps.shape[2:])
        tokens = [self.cls_token + self.pos_embed[:, :1]] + ([self.register_tokens] if self.registers else [])
        tokens = [token.expand(len(x), -1, -1) for token in tokens]
        x = torch.cat([*tokens, maps.flatten(2).transpose(1, 2)], dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)[:, 1 + self.registers :]
        return x.reshape(len(x), *maps.shape[2:], -1)


class MixAttention(nn.Module):
    """Of a map, to windows of it."""

    def __init__(self, width, heads, reduction):
        super().__init__()
        self.heads = heads
        self.self = nn.ModuleDict({name: nn.Linear(width, width) for name in ('query', 'key', 'value')})
        if reduction > 1:
            self.self['sr'] = nn.Conv2d(width, width, reduction, reduction)
            self.self['layer_norm'] = nn.LayerNorm(width)
        self.output = nn.ModuleDict({'dense': nn.Linear(width, width)})

    def _split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, tokens, height, width):
        windows = tokens
        if 'sr' in self.self:
            maps = tokens.transpose(1, 2).unflatten(-1, (height, width))
            windows = self.self['layer_norm'](self.self['sr'](maps).flatten(2).transpose(1, 2))
        query = self._split(self.self['query'](tokens))
        key, value = self._split(self.self['key'](windows)), self._split(self.self['value'](windows))
        weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        return self.output['dense']((weights @ value).transpose(1, 2).flatten(2))


class MixBlock(nn.Module):
    def __init__(self, width, heads, reduction):
        super().__init__()
        self.layer_norm_1, self.layer_norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = MixAttention(width, heads, reduction)
        self.mlp = nn.ModuleDict({'dense1': nn.Linear(width, 4 * width), 'dense2': nn.Linear(4 * width, width)})
        self.mlp['dwconv'] = nn.ModuleDict({'dwconv': nn.Conv2d(4 * width, 4 * width, 3, padding=1, groups=4 * width)})

    def forward(self, tokens, height, width):
        tokens = tokens + self.attention(self.layer_norm_1(tokens), height, width)
        hidden = self.mlp['dense1'](self.layer_norm_2(tokens)).transpose(1, 2).unflatten(-1, (height, width))
        hidden = F.gelu(self.mlp['dwconv']['dwconv'](hidden)).flatten(2).transpose(1, 2)
        return tokens + self.mlp['dense2'](hidden)


class MixTransformer(nn.Module):
    """Gives the maps after each stage."""

    def __init__(self, widths, depths):
        super().__init__()
        self.patch_embeddings, self.block, self.layer_norm = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        forms = zip((3, *widths), widths, depths, (1, 2, 5, 8), (8, 4, 2, 1), (7, 3, 3, 3), (4, 2, 2, 2), strict=False)
        for before, width, depth, heads, reduction, size, stride in forms:
            convolution = nn.Conv2d(before, width, size, stride, size // 2)
            self.patch_embeddings.append(nn.ModuleDict({'proj': convolution, 'layer_norm': nn.LayerNorm(width)}))
            self.block.append(nn.ModuleList([MixBlock(width, heads, reduction) for _ in range(depth)]))
            self.layer_norm.append(nn.LayerNorm(width))

    def forward(self, x):
        maps = []
        for embedding, blocks, norm in zip(self.patch_embeddings, self.block, self.layer_norm, strict=True):
            x = embedding['proj'](x)
            size = x.shape[2:]
            x = embedding['layer_norm'](x.flatten(2).transpose(1, 2))
            for block in blocks:
                x = block(x, *size)
            x = norm(x).transpose(1, 2).unflatten(-1, tuple(size))
            maps.append(x)
        return maps


class DecodeHead(nn.Module):
    def __init__(self, widths, width, classes):
        super().__init__()
        self.linear_c = nn.ModuleList([nn.ModuleDict({'proj': nn.Linear(before, width)}) for before in widths])
        self.linear_fuse = nn.Conv2d(4 * width, width, 1, bias=False)
        self.batch_norm = nn.BatchNorm2d(width)
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, maps):
        mapped = [each['proj'](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for each, x in zip(self.linear_c, maps, strict=True)]
        mapped = [F.interpolate(x, size=maps[0].shape[2:], mode='bilinear', align_corners=False) for x in mapped]
        return self.classifier(F.relu(self.batch_norm(self.linear_fuse(torch.cat(mapped[::-1], dim=1)))))


def _with(network, arrays):
    network.load_state_dict({name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()})
    return network.eval()


def _images(shape):
    return torch.from_numpy(published.images(*shape)).permute(0, 3, 1, 2)


def _last(maps):
    return maps.permute(0, 2, 3, 1).numpy()


def resnet():
    arrays = published.filled(published.resnet18(RESNET_WIDTH))
    found = {}
    for name, shape in RESNET_IMAGES.items():
        network = _with(ResNet18(RESNET_WIDTH), arrays)
        found |= {f'resnet_{name}_{stage}': _last(maps) for stage, maps in enumerate(network(_images(shape)))}
    network.train()
    found['resnet_training'] = _last(network(_images(RESNET_IMAGES['odd']))[-1])
    for part in ('running_mean', 'running_var'):
        found[f'resnet_{part}'] = network.state_dict()[f'layer1.0.bn1.{part}'].numpy()
    return found


def vit():
    found = {}
    for kind, options in VIT_KINDS.items():
        network = _with(ViT(**VIT, heads=VIT_HEADS, **options), published.filled(published.vit(**VIT, **options)))
        found |= {f'vit_{kind}_{name}': network(_images(shape)).numpy() for name, shape in VIT_IMAGES.items()}
    return found


def mit():
    arrays = published.filled(published.mit(**MIT))
    encoder = {name.removeprefix('segformer.encoder.'): array for name, array in arrays.items() if 'classifier' not in name}
    network = _with(MixTransformer(**MIT), encoder)
    found = {}
    for name, shape in MIT_IMAGES.items():
        maps = network(_images(shape))
        found |= {f'mit_{name}_{stage}': _last(each) for stage, each in enumerate(maps)}
        arrays = published.filled(published.decode_head(MIT['widths'], **DECODE_HEAD))
        head = {name.removeprefix('decode_head.'): array for name, array in arrays.items()}
        decoder = _with(DecodeHead(MIT['widths'], **DECODE_HEAD), head)
        found[f'mit_{name}_logits'] = _last(decoder(maps))
        found[f'mit_{name}_training'] = _last(decoder.train()(maps))
    return found


def real_vit(path):
    from safetensors.numpy import load_file

    arrays = {name: array.astype(np.float32) for name, array in load_file(path).items()}
    network = _with(ViT(192, 12, 16, 14, heads=3), arrays)
    return {f'real_{name}': network(_images(shape)).numpy()[:, ::EVERY, ::EVERY] for name, shape in REAL_IMAGES.items()}


if __name__ == '__main__':
    with torch.no_grad():
        np.savez_compressed(PATH, **resnet(), **vit(), **mit(), **(real_vit(sys.argv[1]) if sys.argv[1:] else {}))
