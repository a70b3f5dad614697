"""PiCIE on Cityscapes with 27 classes, as its paper trained it: otherwise as configs/picie_coco27.py.

    python -m ar_seg_jax.main --config configs/picie_cityscapes.py --config.data.root=/path/to/cityscapes \
      --config.initial_weights.file=resnet18.safetensors --workdir runs/picie_cityscapes

Paper: 65.5 % pixel accuracy, 12.3 mIoU, trained on test and train_extra and scored on train and val; its released logs 61.6 to
64.0 / 11.6 to 11.8. Our score: not yet measured. Probes are trained on train, which is scored too, as the images of training
have no labels.
"""

from configs import picie_coco27


def get_config():
    config = picie_coco27.get_config()
    config.data = {
        'name': 'cityscapes',
        'data_dir': config.data.data_dir,
        'train_split': 'test+train_extra',
        'root': '',
        'side': 640,
    }
    config.optimizer.learning_rate = 1e-3
    config.evaluation.split = 'train+val'
    config.evaluators.probes.split = 'train'
    return config
