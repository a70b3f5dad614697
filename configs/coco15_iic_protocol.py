"""configs/coco15.py under the protocol of IIC's published scores: trained, matched and scored on all images at once.

    python -m ar_seg_jax.main --config configs/coco15_iic_protocol.py --config.data.root=/path/to/coco --workdir runs/coco15_iic

No image is held out, so scores compare with IIC's and say nothing of new images. Images are made small as IIC's are, without
antialiasing and padded on all sides.
"""

from configs import coco15


def get_config():
    config = coco15.get_config()
    config.data.update(train_split='train+val', geometry='iic')
    config.evaluation.split = 'train+val'
    config.evaluators.segmentation.protocols = ('one-to-one',)
    return config
