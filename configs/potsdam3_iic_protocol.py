"""configs/potsdam3.py under the protocol of IIC's published scores: trained on all images, matched and scored on all with labels.

    python -m ar_seg_jax.main --config configs/potsdam3_iic_protocol.py --config.data.root=/path/to/potsdam --workdir runs/p3

No image is held out, so scores compare with IIC's and say nothing of new images.
"""

from configs import potsdam3


def get_config():
    return of_all_images(potsdam3.get_config())


def of_all_images(config):
    """The config of a version of Potsdam under the protocol."""
    config.data.train_split = 'unlabelled_train+labelled_train+labelled_test'
    config.evaluation.split = 'labelled_train+labelled_test'
    config.evaluators.segmentation.protocols = ('one-to-one',)
    return config
