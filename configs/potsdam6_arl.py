"""ARL on the data of configs/potsdam6.py, with the same network and budget.

    python -m ar_seg_jax.main --config configs/potsdam6_arl.py --config.data.root=/path/to/potsdam --workdir runs/potsdam6_arl

Paper: 45.1 % pixel accuracy for clusters of ARL features (slides). Our score: not yet measured. See potsdam3_arl.
"""

from configs import common, potsdam6


def get_config():
    config = potsdam6.get_config()
    config.method = common.arl() | {'num_clusters': 6}
    return config
