"""AC on COCO-Stuff-3 (sky, plant, ground): Table 5 of the supplement, column 1.

    python -m ar_seg_jax.main --config configs/coco3.py --config.data.root=/path/to/coco --workdir runs/coco3

Paper: 72.9 % pixel accuracy after one-to-one matching (slides, SOTA comparison). Our score: not yet measured. 53 M
parameters; made for accelerators, bfloat16 (--config.model.dtype=bfloat16) fits them best. The length of the training is in
none of the sources; 10 epochs are those of the reproduction report. Pixels outside the three classes are left out of loss and
scores, as in IIC's protocol. Give IIC's curated lists with --config.data.train_list and val_list.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.epochs = 10.0
    config.optimizer.learning_rate = 4e-5
    config.data.update(name='coco_stuff', root='', num_classes=3, train_list='', val_list='', rescale=0.33, crop_size=128)
    config.pipeline.update(crop_size=128, batch_size=60, mask_void=True)
    config.model.update(variant='F2', blocks=5, output_stride=4, attention=False)
    config.method.update(num_clusters=3, displacement=10)
    config.evaluation.update(split='val', crop_size=128)
    config.evaluators.segmentation.protocols = ('one-to-one', 'many-to-one:train')
    return config
