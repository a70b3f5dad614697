"""AST on the objects that are made on the spot, with networks and budget as for CLEVR: background, then foreground, then both.

    python -m ar_seg_jax.main --config configs/ast_objects.py

For a GPU; configs/ast_objects_small.py is for two CPU cores. MiT's weights of ImageNet are not part of the program, see
docs/ast.md; without them the encoder begins with drawn ones.
"""

from configs import ast_clevr


def get_config():
    config = ast_clevr.get_config()
    config.data = {
        'name': 'objects',
        'data_dir': config.data.data_dir,
        'train_split': 'train',
        'size': 64,
        'level': 'plain',
        'train_count': 20_000,
    }
    config.pipeline.crop_size = 64
    config.method.update(num_clusters=7, image_size=64, glimpse_size=32, scales=2)
    return config
