"""PiCIE on COCO-Stuff with 27 classes, as its paper trained it (Cho et al. 2021).

    python -m ar_seg_jax.main --config configs/picie_coco27.py --config.data.root=/path/to/coco \
      --config.initial_weights.file=resnet18.safetensors --config.data.train_list=... --config.data.val_list=... \
      --workdir runs/picie_coco27

Paper: 48.1 % pixel accuracy, 13.8 mIoU after one-to-one matching; its released logs 50.4 / 15.0. Our score: not yet measured.
11.3 M parameters; made for accelerators. The ResNet-18 of the paper is the one of ImageNet, which has seen labels;
--config.initial_weights.layout=own begins with random weights instead. The lists are IIC's (Coco164kFull_Stuff_Coarse_7).

Images have 640 pixels a side, of which the network sees 320, in views and in predictions. The released code scores images and
labels of 320 pixels; here these have 640 too. It seeks clusters in batches of 256 images, 20 at first, and takes all places of
them; here batches are those of training, 40 at first, and places are drawn. Its scores and colours are those of
--config.method.scores=dot --config.method.colours=released.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.epochs = 10.0
    config.data.update(name='coco_stuff', root='', num_classes=27, train_list='', val_list='', geometry='picie', crop_size=640)
    config.pipeline.update(crop_size=640, batch_size=128)
    config.model = common.resnet_fpn()
    config.initial_weights.update(layout='torchvision_resnet18', into='network/resnet')
    config.method = common.picie() | {'num_clusters': 27, 'shrink': 2, 'initial_batches': 40}
    config.optimizer.update(learning_rate=1e-4, eps=1e-8)
    config.evaluation.batch_size = 16
    return config
