"""A Gaussian mixture of colours on any folder of images: label maps within a minute on a CPU, without a network.

    python -m ar_seg_jax.main --config configs/mixture_folder.py --config.data.root=/path/to/images --workdir runs/mine

For images without an up and a down, such as those from above, at half their size. configs/mixture_street.py is for photographs
with a sky or a ceiling, configs/mixture_microscopy.py for one kind of thing under several lights. Where classes have the same
colours and differ in texture, configs/folder.py (AC) is the better start.
"""

from configs import common, folder


def get_config():
    config = folder.get_config()
    config.data.update(rescale=0.5, block_size=100)
    config.pipeline.crop_size = 96
    config.evaluators.probes.names = ()
    return of_colours(config)


def of_colours(config):
    """The config with a mixture of colours in place of a network."""
    config.model = common.colours()
    config.method = common.mixture() | {'num_clusters': config.method.num_clusters}
    return config
