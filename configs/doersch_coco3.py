"""Doersch's pretext task on COCO-Stuff-3, on IIC's network, data and changes of images.

    python -m ar_seg_jax.main --config configs/doersch_coco3.py --config.data.root=/path/to/coco --workdir runs/doersch_coco3

The IIC paper: 47.5 % pixel accuracy. Our score: not yet measured. Batch, learning rate and length of those runs are not known;
these are IIC's own. The cells of the network are where they are; in IIC's code its features are stretched over the image, and
here they would have a ring of zeros that k-means would see. 262,990,025 parameters, nearly all in what compares patches;
--config.method.comparator=pooled needs 11 million.
"""

from configs import common, iic_coco3


def get_config():
    return of_patches(iic_coco3.get_config(), common.doersch())


def of_patches(config, method):
    """The config of a run of IIC with a method of patches instead."""
    shared = ('num_clusters', 'brightness', 'contrast', 'saturation', 'hue', 'flip', 'sobel')
    config.method = method | {name: config.method[name] for name in shared} | {'comparator': 'full'}
    config.model.geometry = 'aligned'
    return config
