"""ARL on the data of configs/potsdam3.py, with the same network and budget.

    python -m ar_seg_jax.main --config configs/arl_potsdam3.py --config.data.root=/path/to/potsdam --workdir runs/arl_potsdam3

Paper: 57.1 % pixel accuracy for clusters of ARL features (slides). Our score: not yet measured. All negatives are exact: a step
compares 300,000 places with one another, which is made for accelerators; --config.method.negatives=500 draws some instead.
"""

from configs import common, potsdam3


def get_config():
    config = potsdam3.get_config()
    config.method = common.arl()
    return config
