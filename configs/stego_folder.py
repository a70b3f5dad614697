"""STEGO on the features of a frozen ViT-Ti/16, on any folder of images.

    python -m ar_seg_jax.main --config configs/stego_folder.py --config.data.root=/path/to/images \
      --config.initial_weights.file=vit_tiny_patch16.safetensors --workdir runs/mine

The options of the method, the batch and the number of steps are those of STEGO's code for COCO-Stuff with DINO's ViT-S/8;
`common.STEGO_TERMS` has the weights and shifts of others, which belong to an encoder and to a data set. Images and times are as
in configs/smooseg_folder.py.
"""

from configs import common, mixture_vit_folder, smooseg_folder


def get_config():
    config = mixture_vit_folder.get_config()
    config.method = common.stego()
    return smooseg_folder.of_published(config, common.stego_optimizer(), steps=5000, batch_size=16)
