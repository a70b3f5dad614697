"""A Gaussian mixture of colours on the data of configs/folder_small.py, with the same budget.

python -m ar_seg_jax.main --config configs/mixture_folder_small.py --config.data.root=/path/to/images --workdir runs/mine_mixture
"""

from configs import folder_small, mixture_folder


def get_config():
    return mixture_folder.of_colours(folder_small.get_config())
