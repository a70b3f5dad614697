"""State dictionaries as other programs publish them: the names and shapes of their arrays, and random content."""

import numpy as np

Shapes = dict[str, tuple[int, ...]]

# What the stored activations are of: networks and images (count, height, width). Of the published one, each fifth cell is stored.
RESNET_WIDTH = 4
RESNET_IMAGES = {'even': (2, 64, 96), 'odd': (2, 45, 71)}
VIT = {'width': 12, 'depth': 2, 'patch': 4, 'grid': 5}
VIT_HEADS = 3
VIT_KINDS = {'dino': {}, 'dinov2': {'layer_scale': True}, 'registers': {'layer_scale': True, 'registers': 2}}
VIT_IMAGES = {'native': (2, 20, 20), 'wide': (1, 12, 40), 'transposed': (1, 40, 12), 'small': (1, 8, 8)}
REAL_IMAGES = {'native': (1, 224, 224), 'wide': (1, 160, 288)}
EVERY = 5


def _norm(name: str, channels: int) -> Shapes:
    return {f'{name}.{part}': (channels,) for part in ('weight', 'bias', 'running_mean', 'running_var')} | {
        f'{name}.num_batches_tracked': ()
    }


def resnet18(width: int = 64, channels: int = 3) -> Shapes:
    """torchvision's, with the classifier of ImageNet."""
    shapes = {'conv1.weight': (width, channels, 7, 7), **_norm('bn1', width)}
    before = width
    for stage in range(1, 5):
        after = width * 2 ** (stage - 1)
        for block in range(2):
            name = f'layer{stage}.{block}'
            shapes |= {f'{name}.conv1.weight': (after, after if block else before, 3, 3), **_norm(f'{name}.bn1', after)}
            shapes |= {f'{name}.conv2.weight': (after, after, 3, 3), **_norm(f'{name}.bn2', after)}
        if stage > 1:
            name = f'layer{stage}.0.downsample'
            shapes |= {f'{name}.0.weight': (after, before, 1, 1), **_norm(f'{name}.1', after)}
        before = after
    return shapes | {'fc.weight': (1000, before), 'fc.bias': (1000,)}


def vit(width: int, depth: int, patch: int, grid: int, layer_scale: bool = False, registers: int = 0) -> Shapes:
    """DINO's, or DINOv2's where there is a layer scale."""
    shapes = {'cls_token': (1, 1, width), 'pos_embed': (1, 1 + grid**2, width)}
    shapes |= {'patch_embed.proj.weight': (width, 3, patch, patch), 'patch_embed.proj.bias': (width,)}
    shapes |= {'register_tokens': (1, registers, width)} if registers else {}
    shapes |= {'mask_token': (1, width)} if layer_scale else {}
    linear = {'attn.qkv': (3 * width, width), 'attn.proj': (width, width)}
    linear |= {'mlp.fc1': (4 * width, width), 'mlp.fc2': (width, 4 * width)}
    for index in range(depth):
        block = f'blocks.{index}'
        for name, shape in linear.items():
            shapes |= {f'{block}.{name}.weight': shape, f'{block}.{name}.bias': shape[:1]}
        for name in ('norm1', 'norm2'):
            shapes |= {f'{block}.{name}.weight': (width,), f'{block}.{name}.bias': (width,)}
        for name in ('ls1', 'ls2') if layer_scale else ():
            shapes[f'{block}.{name}.gamma'] = (width,)
    return shapes | {'norm.weight': (width,), 'norm.bias': (width,)}


def filled(shapes: Shapes, seed: int = 0) -> dict[str, np.ndarray]:
    """Numbers of which activations keep their size; variances are positive."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, shape in shapes.items():
        if name.endswith('num_batches_tracked'):
            arrays[name] = np.array(7)
        elif len(shape) == 1 and name.endswith(('weight', 'running_var', 'gamma')):
            arrays[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            size = np.prod(shape[1:]) if name.endswith('weight') else 1
            arrays[name] = (rng.normal(size=shape) / np.sqrt(size)).astype(np.float32)
    return arrays


def images(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Images of random numbers, channels last."""
    return np.random.default_rng(seed).normal(size=(count, height, width, 3)).astype(np.float32)
