"""A Gaussian mixture of colours and places, for photographs that have an up and a down, such as those of streets.

    python -m ar_seg_jax.main --config configs/mixture_street.py --config.data.root=/path/to/images --workdir runs/mine

All images have one size, and are taken at a third of it. What they show at each place on average is part of what is clustered, so
they must not be cut into blocks.
"""

from configs import mixture_folder


def get_config():
    config = mixture_folder.get_config()
    config.data.update(rescale=1 / 3, block_size=0)
    config.method.layout = 16
    return config
