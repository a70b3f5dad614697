"""The layout of SegFormer's encoder, the Mix Transformer, for `models.segformer`: as Hugging Face names it, and as NVIDIA does.

Names of Hugging Face begin with 'segformer.encoder', with 'encoder', or with neither (`nvidia/mit-b0` to `nvidia/mit-b5`, and
networks for segmentation). NVIDIA counts stages from 1 and has keys and values in one array, the keys first. Classifiers and
decode heads have no place here.
"""

import re

from ar_seg_jax.training.published.layout import Layout

_NORM = {'weight': 'scale', 'bias': 'bias'}
_LINEAR = {'weight': 'kernel', 'bias': 'bias'}
# Parts of a stage and of a block by their names there: what they are called here, and what their own parts are called. Of each
# two names the first is Hugging Face's.
_PARTS = {
    'patch_embeddings/proj': (('embedding',), _LINEAR),
    'patch_embed/proj': (('embedding',), _LINEAR),
    'patch_embeddings/layer_norm': (('embedding_norm',), _NORM),
    'patch_embed/norm': (('embedding_norm',), _NORM),
    'layer_norm': (('norm',), _NORM),
    'norm': (('norm',), _NORM),
}
_PARTS_OF_A_BLOCK = {
    'layer_norm_1': (('attention_norm',), _NORM),
    'norm1': (('attention_norm',), _NORM),
    'attention/self/query': (('attention_query',), _LINEAR),
    'attn/q': (('attention_query',), _LINEAR),
    'attention/self/key': (('attention_key',), _LINEAR),
    'attention/self/value': (('attention_value',), _LINEAR),
    'attn/kv': (('attention_key', 'attention_value'), _LINEAR),
    'attention/self/sr': (('attention_reduction',), _LINEAR),
    'attn/sr': (('attention_reduction',), _LINEAR),
    'attention/self/layer_norm': (('attention_reduction_norm',), _NORM),
    'attn/norm': (('attention_reduction_norm',), _NORM),
    'attention/output/dense': (('attention_output',), _LINEAR),
    'attn/proj': (('attention_output',), _LINEAR),
    'layer_norm_2': (('mlp_norm',), _NORM),
    'norm2': (('mlp_norm',), _NORM),
    'mlp/dense1': (('mlp_0',), _LINEAR),
    'mlp/fc1': (('mlp_0',), _LINEAR),
    'mlp/dwconv/dwconv': (('mlp_conv',), _LINEAR),
    'mlp/dense2': (('mlp_1',), _LINEAR),
    'mlp/fc2': (('mlp_1',), _LINEAR),
}
_NAME = re.compile(r'(?P<kind>[a-z_]+)(?P<from_zero>/?)(?P<stage>\d)(?:/(?P<part>.+))?/(?P<own>weight|bias)')


def _place(name: str) -> tuple[str, ...] | None:
    found = _NAME.fullmatch(name.removeprefix('segformer/').removeprefix('encoder/'))
    if not found:
        return None
    above = f'params/stage{int(found["stage"]) - (not found["from_zero"])}_'
    if found['kind'] == 'block':
        number, _, part = (found['part'] or '').partition('/')
        above, parts = f'{above}block{number}/', _PARTS_OF_A_BLOCK
    else:
        part, parts = '/'.join(filter(None, (found['kind'], found['part']))), _PARTS
    here, own_parts = parts.get(part, ((), {}))
    return tuple(f'{above}{each}/{own_parts[found["own"]]}' for each in here) or None


def _is_ignored(name: str) -> bool:
    return name.partition('/')[0] in ('classifier', 'decode_head', 'head')


LAYOUT = Layout(_place, _is_ignored)
