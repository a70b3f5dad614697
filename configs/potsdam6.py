"""AC on Potsdam, 6 classes: Table 5 of the supplement, column 4.

    python -m ar_seg_jax.main --config configs/potsdam6.py --config.data.root=/path/to/potsdam --workdir runs/potsdam6

Paper: 47.9 % pixel accuracy with raster orderings and attention, 49.3 % with raster and zigzag ones
(--config.method.orderings=all). Our score: not yet measured. Otherwise as configs/potsdam3.py.
"""

from configs import potsdam3


def get_config():
    config = potsdam3.get_config()
    config.optimizer.learning_rate = 4e-5
    config.data.num_classes = 6
    config.method.num_clusters = 6
    return config
