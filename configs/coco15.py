"""AC on COCO-Stuff, 15 stuff classes: Table 5 of the supplement, column 2.

    python -m ar_seg_jax.main --config configs/coco15.py --config.data.root=/path/to/coco --workdir runs/coco15

Paper: 30.8 % pixel accuracy after one-to-one matching (slides, SOTA comparison). Our score: not yet measured. Otherwise as
configs/coco3.py.
"""

from configs import coco3


def get_config():
    config = coco3.get_config()
    config.optimizer.learning_rate = 6e-6
    config.data.num_classes = 15
    config.method.num_clusters = 15
    return config
