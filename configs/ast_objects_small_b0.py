"""AST on the data of configs/ast_objects_small.py with a SegFormer MiT-B0 instead of the compact network.

It begins with drawn weights unless config.initial_weights name published ones.

    python -m ar_seg_jax.main --config configs/ast_objects_small_b0.py
"""

from configs import ast_objects_small, common


def get_config():
    config = ast_objects_small.get_config()
    config.model = common.segformer() | {'variant': 'B0'}
    return config
