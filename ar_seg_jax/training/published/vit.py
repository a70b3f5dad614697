"""The layout of vision transformers in timm, DINO and DINOv2, for `models.vit`.

Heads and the token of masked patches, which only DINOv2's training uses, have no place here.
"""

import re

from ar_seg_jax.training.published.layout import Layout

_NORM = {'weight': 'scale', 'bias': 'bias'}
_LINEAR = {'weight': 'kernel', 'bias': 'bias'}
# Parts of the network by their names there: what they are called here, and what their own parts are called.
_PARTS = {
    'patch_embed/proj': ('patch_embedding', _LINEAR),
    'norm': ('norm', _NORM),
}
_PARTS_OF_A_BLOCK = {
    'norm1': ('attention_norm', _NORM),
    'attn/qkv': ('attention_qkv', _LINEAR),
    'attn/proj': ('attention_output', _LINEAR),
    'ls1': ('attention_scale', {'gamma': 'scale'}),
    'norm2': ('mlp_norm', _NORM),
    'mlp/fc1': ('mlp_0', _LINEAR),
    'mlp/fc2': ('mlp_1', _LINEAR),
    'ls2': ('mlp_scale', {'gamma': 'scale'}),
}
_ARRAYS = {'cls_token': 'class_token', 'pos_embed': 'position', 'register_tokens': 'registers'}


def _place(name: str) -> str | None:
    if name in _ARRAYS:
        return f'params/{_ARRAYS[name]}'
    block = re.fullmatch(r'blocks/(\d+)/(.+)', name)
    parts, rest, above = (_PARTS_OF_A_BLOCK, block[2], f'block_{int(block[1])}/') if block else (_PARTS, name, '')
    part, _, own = rest.rpartition('/')
    here, own_parts = parts.get(part, ('', {}))
    return f'params/{above}{here}/{own_parts[own]}' if own in own_parts else None


def _is_ignored(name: str) -> bool:
    return name == 'mask_token' or name.startswith('head/')


LAYOUT = Layout(_place, _is_ignored)
