"""AST on ShapeStacks, as in its supplement: images of 64 pixels with at most six objects.

    python -m ar_seg_jax.main --config configs/ast_shapestacks.py --config.data.root=/path/to/shapestacks \
      --config.initial_weights.file=/path/to/mit_b3.safetensors

See configs/ast_clevr.py.
"""

from configs import ast_clevr, common


def get_config():
    config = common.get_config()
    config.data = {
        'name': 'shapestacks',
        'data_dir': config.data.data_dir,
        'train_split': 'train',
        'root': '',
    }
    sizes = {'num_clusters': 7, 'image_size': 64, 'glimpse_size': 32}
    return ast_clevr.supplement(config, background_steps=500_000, scales=1, **sizes)
