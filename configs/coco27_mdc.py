"""MDC, the baseline of PiCIE's paper, on COCO-Stuff with 27 classes: DeepCluster for pixels, otherwise as coco27_picie.

    python -m ar_seg_jax.main --config configs/coco27_mdc.py --config.data.root=/path/to/coco --workdir runs/coco27_mdc

Paper: 32.2 % pixel accuracy, 9.8 mIoU; its released logs end at 28.0 / 6.1 and 33.6 / 8.4, below what they had before: it
collapses. Our score: not yet measured.
"""

from configs import coco27_picie, common


def get_config():
    config = coco27_picie.get_config()
    chosen = {'num_clusters': 27, 'shrink': 2, 'initial_batches': 40, 'class_weights': 'frequency'}
    config.method = common.deep_cluster() | chosen
    return config
