"""MDC, the baseline of PiCIE's paper, on Cityscapes with 27 classes: DeepCluster for pixels, otherwise as picie_cityscapes.

    python -m ar_seg_jax.main --config configs/mdc_cityscapes.py --config.data.root=/path/to/cityscapes \
      --config.initial_weights.file=resnet18.safetensors --workdir runs/mdc_cityscapes

Our score: not yet measured.
"""

from configs import mdc_coco27, picie_cityscapes


def get_config():
    return mdc_coco27.in_place_of_picie(picie_cityscapes.get_config())
