"""AST on the data of configs/ast_objects_small.py with the U-Net of the supplement instead of the compact network.

Its steps take many times as long on CPU.

    python -m ar_seg_jax.main --config configs/ast_objects_small_unet.py
"""

from configs import ast_objects_small, common


def get_config():
    config = ast_objects_small.get_config()
    config.model = common.unet()
    return config
