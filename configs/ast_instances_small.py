"""The small AST of configs/ast_objects_small.py on any folder of images of scenes before one background.

    python -m ar_seg_jax.main --config configs/ast_instances_small.py --config.data.root=/path/to/images --workdir runs/mine

Masks of objects are optional and serve evaluation only; ar_seg_jax/data/instances.py says how they are found. Where backgrounds
differ from image to image, --config.method.background=simple (--config.method.background_steps=2500) learns them, in steps that
take much longer.
"""

from configs import ast_objects_small, common


def get_config():
    return ast_objects_small.small(of_folder(size=64), steps=6000)


def of_folder(size):
    """The config with the images of a folder at this size, for data: the side of squares, or (height, width)."""
    config = common.get_config()
    config.data = {
        'name': 'instances',
        'data_dir': config.data.data_dir,
        'train_split': 'train',
        'root': '',
        'size': size,
    }
    return config
