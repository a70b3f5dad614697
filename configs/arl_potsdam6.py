"""ARL on the data of configs/potsdam6.py, with the same network and budget.

    python -m ar_seg_jax.main --config configs/arl_potsdam6.py --config.data.root=/path/to/potsdam --workdir runs/arl_potsdam6

Paper: 45.1 % pixel accuracy for clusters of ARL features (slides). Our score: not yet measured. See arl_potsdam3.
"""

from configs import common, potsdam6


def get_config():
    config = potsdam6.get_config()
    config.method = common.arl() | {'num_clusters': 6}
    return config
