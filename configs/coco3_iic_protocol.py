"""configs/coco3.py under the protocol of IIC's published scores: trained, matched and scored on all images at once.

    python -m ar_seg_jax.main --config configs/coco3_iic_protocol.py --config.data.root=/path/to/coco --workdir runs/coco3_iic

No image is held out, so scores compare with IIC's and say nothing of new images. Images are made small as IIC's are, without
antialiasing and padded on all sides. As in IIC's code for three classes, pixels without labels inside of images count as sky.
"""

from configs import coco3


def get_config():
    config = of_all_images(coco3.get_config())
    config.data.unlabelled = 'sky'
    return config


def of_all_images(config):
    """The config of a version of COCO-Stuff under the protocol."""
    config.data.update(train_split='train+val', geometry='iic')
    config.evaluation.split = 'train+val'
    config.evaluators.segmentation.protocols = ('one-to-one',)
    return config
