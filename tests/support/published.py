"""State dictionaries as other programs publish them: the names and shapes of their arrays, and random content."""

import re

import numpy as np

Shapes = dict[str, tuple[int, ...]]

# What the stored activations are of: networks and images (count, height, width). Of the published one, each fifth cell is stored.
RESNET_WIDTH = 4
RESNET_IMAGES = {'even': (2, 64, 96), 'odd': (2, 45, 71)}
VIT = {'width': 12, 'depth': 2, 'patch': 4, 'grid': 5}
VIT_HEADS = 3
VIT_KINDS = {'dino': {}, 'dinov2': {'layer_scale': True}, 'registers': {'layer_scale': True, 'registers': 2}}
VIT_IMAGES = {'native': (2, 20, 20), 'wide': (1, 12, 40), 'transposed': (1, 40, 12), 'small': (1, 8, 8)}
MIT = {'widths': (4, 6, 10, 8), 'depths': (1, 2, 1, 1)}
MIT_IMAGES = {'even': (2, 64, 96), 'odd': (1, 45, 71)}
DECODE_HEAD = {'width': 6, 'classes': 3}
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


def mit(widths: tuple[int, ...], depths: tuple[int, ...]) -> Shapes:
    """Hugging Face's Mix Transformer, with the classifier of ImageNet."""
    shapes, before = {}, 3
    for stage, (width, depth, reduction) in enumerate(zip(widths, depths, (8, 4, 2, 1), strict=True)):
        size = 3 if stage else 7
        parts = {f'patch_embeddings.{stage}.proj': (width, before, size, size)}
        norms = [f'patch_embeddings.{stage}.layer_norm', f'layer_norm.{stage}']
        for index in range(depth):
            block = f'block.{stage}.{index}'
            linear = ['attention.self.query', 'attention.self.key', 'attention.self.value', 'attention.output.dense']
            parts |= {f'{block}.{name}': (width, width) for name in linear}
            parts[f'{block}.mlp.dense1'], parts[f'{block}.mlp.dense2'] = (4 * width, width), (width, 4 * width)
            parts[f'{block}.mlp.dwconv.dwconv'] = (4 * width, 1, 3, 3)
            norms += [f'{block}.layer_norm_1', f'{block}.layer_norm_2']
            if reduction > 1:
                parts[f'{block}.attention.self.sr'] = (width, width, reduction, reduction)
                norms.append(f'{block}.attention.self.layer_norm')
        for name, shape in {**parts, **dict.fromkeys(norms, (width,))}.items():
            shapes |= {f'segformer.encoder.{name}.weight': shape, f'segformer.encoder.{name}.bias': shape[:1]}
        before = width
    return shapes | {'classifier.weight': (1000, before), 'classifier.bias': (1000,)}


def as_nvidia_has_them(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of `mit` with the names of the original: stages from 1, keys and values in one array."""
    renamed = {}
    for name, array in arrays.items():
        name = name.removeprefix('segformer.encoder.').replace('classifier', 'head')
        name = re.sub(r'^patch_embeddings\.(\d)\.', lambda found: f'patch_embed{int(found[1]) + 1}.', name)
        name = re.sub(r'^(?:layer_)?(norm|block)\.(\d)\.', lambda found: f'{found[1]}{int(found[2]) + 1}.', name)
        for there, original in _OF_NVIDIA.items():
            name = name.replace(there, original)
        renamed[name] = array
    for name in [name for name in renamed if '.attn.key.' in name]:
        keys, values = renamed.pop(name), renamed.pop(name.replace('.key.', '.value.'))
        renamed[name.replace('.key.', '.kv.')] = np.concatenate([keys, values])
    return renamed


_OF_NVIDIA = {
    'attention.self.query': 'attn.q',
    'attention.self.': 'attn.',
    'attention.output.dense': 'attn.proj',
    'mlp.dense': 'mlp.fc',
    'layer_norm_': 'norm',
    'layer_norm': 'norm',
}


def decode_head(widths: tuple[int, ...], width: int, classes: int) -> Shapes:
    """Hugging Face's, of SegFormer."""
    shapes = {}
    for stage, before in enumerate(widths):
        name = f'decode_head.linear_c.{stage}.proj'
        shapes |= {f'{name}.weight': (width, before), f'{name}.bias': (width,)}
    shapes |= {'decode_head.linear_fuse.weight': (width, 4 * width, 1, 1), **_norm('decode_head.batch_norm', width)}
    return shapes | {'decode_head.classifier.weight': (classes, width, 1, 1), 'decode_head.classifier.bias': (classes,)}


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
