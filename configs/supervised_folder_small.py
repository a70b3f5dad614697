"""Learning from labels, on the data of configs/folder_small.py, with as many images and a network of the same size.

    python -m ar_seg_jax.main --config configs/supervised_folder_small.py --config.data.root=/path/to/images \
      --workdir runs/mine_supervised

To begin with what PiCIE learned from the same images, and see whether it is the better start that its paper claims:

    --config.initial_weights.file=runs/mine_picie --config.initial_weights.of=network \
      '--config.initial_weights.without=("decoder",)'
"""

from configs import folder_small, supervised_textures


def get_config():
    return supervised_textures.small(folder_small.get_config())
