"""AST on the objects that are made on the spot, with the networks and the budget for CLEVR: background, foreground, then both.

    python -m ar_seg_jax.main --config configs/ast_objects.py

For a GPU; configs/ast_objects_small.py is for two CPU cores. See configs/ast_clevr.py for the weights of the encoder.
"""

from configs import ast_clevr, common


def get_config():
    config = common.get_config()
    config.data = {
        'name': 'objects',
        'data_dir': config.data.data_dir,
        'train_split': 'train',
        'size': 64,
        'level': 'plain',
        'train_count': 10_000,
    }
    sizes = {'num_clusters': 7, 'image_size': 64, 'glimpse_size': 32}
    return ast_clevr.supplement(config, background_steps=2500, background='simple', **sizes)
