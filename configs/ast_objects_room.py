"""AST on Objects Room, as in its supplement: images of 64 pixels with at most three objects.

    python -m ar_seg_jax.main --config configs/ast_objects_room.py --config.data.root=/path/to/multi_object_datasets \
      --config.initial_weights.file=/path/to/mit_b3.safetensors

See configs/ast_clevr.py. AST does not say how it splits these data; this is the split of GENESIS.
"""

from configs import ast_clevr, common


def get_config():
    config = common.get_config()
    config.data = {
        'name': 'multi_object_records',
        'data_dir': config.data.data_dir,
        'train_split': 'train',
        'root': '',
        'variant': 'objects_room',
        'protocol': 'genesis',
    }
    sizes = {'num_clusters': 4, 'image_size': 64, 'glimpse_size': 32}
    return ast_clevr.supplement(config, background_steps=500_000, **sizes)
