"""ARL on the features of a frozen ViT-Ti/16, on any folder of images: one layer whose two views are augmentations.

    python -m ar_seg_jax.main --config configs/arl_vit_folder.py --config.data.root=/path/to/images \
      --config.initial_weights.file=vit_tiny_patch16.safetensors --workdir runs/mine

See configs/ac_vit_folder.py.
"""

from configs import ac_vit_folder, common, mixture_vit_folder


def get_config():
    config = mixture_vit_folder.get_config()
    config.method = common.arl() | {'orderings': 'none', 'transformations': 'all'}
    return ac_vit_folder.with_frozen_encoder(config, below='network/')
